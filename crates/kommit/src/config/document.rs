//! `docs/configuration.md`, printed from the tables that the parser reads.

use std::fmt::Write;

use super::ProducerConfig;
use super::foreign::{self, Foreign};
use super::keys::{self, Holds, Row, Spelling, Unit};
use super::librdkafka::{self, Translation};

const HEAD: &str = "\
# Configuration

The keys of Kafka's producer under their own names, and two that Kafka does not have. This page is printed from the tables that the code reads; a test
fails when it is out of date.

Settings are given to `ProducerConfig::builder()` by `set` or by a typed setter, to `ProducerConfig::from_properties` as the text of a properties file, or to
`ProducerConfig::from_environment(\"KOMMIT\")` as variables (`KOMMIT_LINGER_MS` is `linger.ms`). Everything is checked when the configuration is built: an unknown
key, an illegal value and keys that contradict each other are errors that say what is allowed. A key that is understood and not followed is logged as a
warning, which is also in `ProducerConfig::warnings`.

Times are in milliseconds, sizes in bytes. A last column that is empty says that nothing differs from Kafka.

| Key | Type | Default | Range | What it does | What differs from Kafka |
| --- | --- | --- | --- | --- | --- |
";

const RULES: &str = "
## Keys together

| Keys | Rule |
| --- | --- |
| `enable.idempotence`, `retries`, `acks` | `retries=0`, or `acks` other than `all`: an error when `enable.idempotence=true` was given, otherwise idempotence is switched off |
| `enable.idempotence`, `max.in.flight.requests.per.connection` | more than 5 is an error with idempotence, also when another key is about to switch it off |
| `transactional.id` | an error without idempotence |
| `delivery.timeout.ms`, `linger.ms`, `request.timeout.ms` | less than the sum of the other two is an error; the default is raised to it instead, with a warning |
| `retry.backoff.ms`, `socket.connection.setup.timeout.ms`, `reconnect.backoff.ms` and their maxima | a base above its maximum is a constant pause of the maximum, with a warning |
| `transaction.two.phase.commit.enable`, `transaction.timeout.ms` | both together are an error |
| `security.protocol`, `sasl.mechanism` | SASL with an empty mechanism is an error |

## Keys of other producers

What a properties file of a Java producer or of librdkafka may hold besides. A key that is not on this page is an error with a hint.

| Key | Here |
| --- | --- |
";

impl ProducerConfig {
    /// All keys as a page of Markdown: name, type, default, range, what a key does, and what is different from Kafka.
    pub fn documentation() -> String {
        page()
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for row in keys::rows() {
        let Row {
            name, does, differs, ..
        } = row;
        let (kind, default, range) = columns(&row.holds);
        writeln!(
            page,
            "| `{name}` | {kind} | {default} | {range} | {does} | {differs} |"
        )
        .expect("a text takes every line");
    }
    page.push_str(RULES);
    for name in foreign::names().chain(foreign::prefixes()) {
        let foreign = foreign::foreign(name).expect("a name of its own table");
        let family = if name.ends_with('.') { "…" } else { "" };
        writeln!(page, "| `{name}{family}` | {} |", outcome(foreign)).expect("a text takes every line");
    }
    for name in librdkafka::names() {
        let here = match librdkafka::translation(name).expect("a name of its own table") {
            Translation::Key(key, unit) => format!("librdkafka's name of `{}`{}", key.name(), unit.clause()),
            Translation::Foreign(foreign) => outcome(foreign),
        };
        writeln!(page, "| `{name}` | {here} |").expect("a text takes every line");
    }
    page
}

/// Type, default and range.
fn columns(holds: &Holds) -> (String, String, String) {
    match *holds {
        Holds::Text { default, form } => ("text".to_owned(), quoted(default), form.to_owned()),
        Holds::Switch { default } => (
            "switch".to_owned(),
            format!("`{default}`"),
            "`true`, `false`".to_owned(),
        ),
        Holds::OneOf {
            default,
            allowed,
            spelling,
        } => {
            let listed: Vec<String> = allowed.iter().map(|text| format!("`{text}`")).collect();
            let spelled = match spelling {
                Spelling::Exact => "",
                Spelling::AnyCase => ", in any case of letters",
            };
            (
                "one of".to_owned(),
                format!("`{default}`"),
                listed.join(", ") + spelled,
            )
        }
        Holds::Number {
            unit,
            default,
            least,
            most,
        } => {
            let kind = match unit {
                Unit::Millis => "ms",
                Unit::Bytes => "bytes",
                Unit::Count => "number",
            };
            let range = match (least, most) {
                (i64::MIN, i64::MAX) => "any".to_owned(),
                (_, i64::MAX) => format!("{least} and more"),
                _ => format!("{least} to {most}"),
            };
            (kind.to_owned(), default.to_string(), range)
        }
    }
}

/// A default that can be typed is code; a description is not.
fn quoted(default: &str) -> String {
    if default.contains([' ', '`']) {
        default.to_owned()
    } else {
        format!("`{default}`")
    }
}

fn outcome(foreign: Foreign) -> String {
    match foreign {
        Foreign::WithoutMeaning(why) => format!("a warning: {why}"),
        Foreign::Only([], why) => format!("an error: {why}"),
        Foreign::Only(values, why) => format!("only `{}`: {why}", values.join("`, `")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::{self, Key};
    use crate::ProducerConfig;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");

    /// The page says what the code does. Run with `UPDATE_GOLDEN=1` to print it anew.
    #[test]
    fn the_page_of_all_keys_is_up_to_date() {
        let page = ProducerConfig::documentation();
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(PAGE, &page).expect("the page can be written");
        }
        let printed = std::fs::read_to_string(PAGE).expect("the page is there");
        assert!(
            printed == page,
            "docs/configuration.md is out of date: run this test with UPDATE_GOLDEN=1"
        );
    }

    /// The order of the rows is that of the keys, which the look-up of a row relies on.
    #[test]
    fn every_row_stands_where_its_key_stands() {
        for (place, row) in keys::rows().enumerate() {
            assert_eq!(row.key as usize, place, "{}", row.name);
            assert_eq!(row.key.name(), row.name);
        }
        assert_eq!(keys::rows().count(), Key::MetricsLevel as usize + 1);
    }
}
