//! `kommit read`: prints what is in a topic.

use std::io::{self, BufWriter, Write};

use serde_json::{Map, Value, json};

use crate::args::ReadArguments;
use crate::cluster::{Cluster, ReadRecord, TopicReader};
use crate::failure::{Failure, output_failed};

/// Prints the topic from the beginning to the end at start, partition by partition.
pub(crate) async fn run(arguments: ReadArguments) -> Result<(), Failure> {
    let mut cluster = Cluster::connect(&arguments.bootstrap_servers).await?;
    let topic = cluster.ensure_topic(&arguments.topic, None).await?;
    let mut reader = TopicReader::open(&mut cluster, topic, arguments.isolation).await?;
    let mut output = BufWriter::new(io::stdout());
    while let Some(records) = reader.next_records().await? {
        for record in &records {
            match print(&mut output, record, arguments.json) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                printed => printed.map_err(output_failed)?,
            }
        }
    }
    match output.flush() {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        flushed => flushed.map_err(output_failed),
    }
}

fn print(output: &mut impl Write, record: &ReadRecord, as_json: bool) -> io::Result<()> {
    if as_json {
        serde_json::to_writer(&mut *output, &object(record))?;
    } else if let Some(value) = &record.value {
        output.write_all(value)?;
    }
    output.write_all(b"\n")
}

/// Headers are a list of pairs, because a name may occur more than once.
fn object(record: &ReadRecord) -> Value {
    let headers = record
        .headers
        .iter()
        .map(|(name, value)| json!([name, text(value.as_deref())]));
    let mut fields = Map::new();
    fields.insert("partition".to_owned(), record.partition.0.into());
    fields.insert("offset".to_owned(), record.offset.into());
    fields.insert("key".to_owned(), text(record.key.as_deref()));
    fields.insert("headers".to_owned(), headers.collect());
    fields.insert("value".to_owned(), text(record.value.as_deref()));
    Value::Object(fields)
}

/// Bytes as JSON: text where they are UTF-8, else an object that says them in hexadecimal; null stays null.
fn text(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use kommit_protocol::units::PartitionId;

    fn printed(value: Option<&'static [u8]>, as_json: bool) -> String {
        let record = ReadRecord {
            partition: PartitionId(2),
            offset: 7,
            key: Some(Bytes::from_static(b"k")),
            value: value.map(Bytes::from_static),
            headers: vec![
                ("h".to_owned(), None),
                ("h".to_owned(), Some(Bytes::from_static(b"1"))),
            ],
        };
        let mut output = Vec::new();
        print(&mut output, &record, as_json).expect("memory takes it");
        String::from_utf8(output).expect("text")
    }

    #[test]
    fn a_value_is_printed_as_it_is() {
        assert_eq!(printed(Some(b"a\tb"), false), "a\tb\n");
        assert_eq!(printed(None, false), "\n");
    }

    #[test]
    fn a_record_as_json_has_its_place_key_headers_and_value() {
        let object: Value = serde_json::from_str(&printed(Some(b"v"), true)).expect("JSON");
        assert_eq!(
            object,
            json!({"partition": 2, "offset": 7, "key": "k", "headers": [["h", null], ["h", "1"]], "value": "v"})
        );
    }

    #[test]
    fn what_is_no_text_is_told_from_text_and_from_null() {
        assert!(printed(Some(b"\xff"), true).contains(r#"{"hex":"ff"}"#));
        assert!(printed(None, true).contains(r#""value":null"#));
    }
}
