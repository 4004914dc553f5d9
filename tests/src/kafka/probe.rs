//! Is a broker ready? Asked in Kafka's own protocol, with a few bytes written by hand.
//!
//! It uses no codec of ours: a harness that waits for a broker must not hang because a codec is wrong.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METADATA: i16 = 3;
const FIND_COORDINATOR: i16 = 10;
const VERSION: i16 = 1;
/// An answer of a broker without topics has less than a kilobyte.
const LONGEST_ANSWER: i32 = 1 << 20;
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// Which coordinator is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coordinator {
    Group = 0,
    Transaction = 1,
}

/// Ready means: the port accepts, a controller is known, and there is a coordinator of both kinds, so that the
/// internal topics exist. The error says what is missing.
pub(super) async fn is_ready(port: u16) -> Result<(), String> {
    let probe = async {
        let mut connection = TcpStream::connect(("127.0.0.1", port)).await?;
        let answer = exchange(&mut connection, METADATA, &[0, 0, 0, 0]).await?;
        if !has_controller(&answer) {
            return Ok(Err("no controller yet".to_owned()));
        }
        for coordinator in [Coordinator::Group, Coordinator::Transaction] {
            let answer = exchange(&mut connection, FIND_COORDINATOR, &coordinator_body(coordinator)).await?;
            if !answer.starts_with(&[0; 6]) {
                return Ok(Err(format!("no coordinator of kind {coordinator:?} yet")));
            }
        }
        Ok(Ok(()))
    };
    match tokio::time::timeout(ANSWER_LIMIT, probe).await {
        Ok(Ok(answer)) => answer,
        Ok(Err::<_, io::Error>(error)) => Err(error.to_string()),
        Err(_) => Err("no answer yet".to_owned()),
    }
}

/// Sends one request and returns the answer behind its correlation id.
async fn exchange(connection: &mut TcpStream, api_key: i16, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut request = Vec::new();
    request.extend(api_key.to_be_bytes());
    request.extend(VERSION.to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    put_string(&mut request, "probe");
    request.extend(body);
    connection.write_i32(request.len() as i32).await?;
    connection.write_all(&request).await?;
    let length = connection.read_i32().await?;
    if !(4..=LONGEST_ANSWER).contains(&length) {
        return Err(io::Error::other(format!("an answer of {length} bytes")));
    }
    let mut answer = vec![0; length as usize];
    connection.read_exact(&mut answer).await?;
    Ok(answer.split_off(4))
}

/// FindCoordinator v1: the key, then the kind.
fn coordinator_body(coordinator: Coordinator) -> Vec<u8> {
    let mut body = Vec::new();
    put_string(&mut body, "probe");
    body.push(coordinator as u8);
    body
}

/// Metadata v1 starts with the brokers (node id, host, port, rack); the controller's id follows.
fn has_controller(answer: &[u8]) -> bool {
    let read = || -> Option<i32> {
        let mut rest = answer;
        let brokers = take_i32(&mut rest)?;
        for _ in 0..brokers {
            take_i32(&mut rest)?;
            skip_string(&mut rest)?;
            take_i32(&mut rest)?;
            skip_string(&mut rest)?;
        }
        let controller = take_i32(&mut rest)?;
        (brokers > 0).then_some(controller)
    };
    read().is_some_and(|controller| controller >= 0)
}

fn put_string(buffer: &mut Vec<u8>, text: &str) {
    buffer.extend((text.len() as i16).to_be_bytes());
    buffer.extend(text.as_bytes());
}

fn take_i32(rest: &mut &[u8]) -> Option<i32> {
    let (number, after) = rest.split_first_chunk::<4>()?;
    *rest = after;
    Some(i32::from_be_bytes(*number))
}

/// Skips a string; a length below zero is a null.
fn skip_string(rest: &mut &[u8]) -> Option<()> {
    let (length, after) = rest.split_first_chunk::<2>()?;
    let length = usize::try_from(i16::from_be_bytes(*length)).unwrap_or(0);
    *rest = after.get(length..)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_without_a_controller_is_not_ready() {
        let mut answer = vec![0, 0, 0, 1, 0, 0, 0, 1];
        put_string(&mut answer, "127.0.0.1");
        answer.extend(9092_i32.to_be_bytes());
        answer.extend((-1_i16).to_be_bytes());
        let mut without = answer.clone();
        without.extend((-1_i32).to_be_bytes());
        assert!(!has_controller(&without));
        answer.extend(1_i32.to_be_bytes());
        assert!(has_controller(&answer));
        assert!(
            !has_controller(&answer[..answer.len() - 2]),
            "an answer cut short"
        );
        assert!(!has_controller(&[0, 0, 0, 0, 0, 0, 0, 1]), "no broker");
    }
}
