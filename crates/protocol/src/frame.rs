//! Headers and length prefixes: what turns a message into a frame, and a stream of bytes into frames.
//!
//! A frame is never larger than its reader allows, and a produce frame is made without copying its batches. Correlating an answer
//! with its request is the business of the connection that owns both.

use bytes::Bytes;

use crate::api::{ApiKey, Request};
use crate::wire::{DecodeError, Field, Problem, Reader, Version, Writer};

mod produce;
mod splitter;

pub use produce::{ProduceFrame, ProducePartition};
pub use splitter::{FrameError, FrameSplitter};

/// Headers are laid out apart from the version of the message: strings in them are never compact.
const HEADER: Version = Version {
    number: 0,
    flexible: false,
};
const LENGTH_PREFIX: usize = 4;

/// What stands before every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// The key of the request as it came: it may be one that this crate does not know.
    pub api_key: i16,
    /// The version of the request.
    pub api_version: i16,
    /// The number that the answer repeats.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Writes the header: with tagged fields when the request's version is flexible.
    pub fn encode(&self, w: &mut Writer) {
        put_request_header(
            w,
            (self.api_key, self.api_version),
            self.correlation_id,
            self.client_id.as_deref(),
        );
    }
}

fn put_request_header(
    w: &mut Writer,
    (key, version): (i16, i16),
    correlation_id: i32,
    client_id: Option<&str>,
) {
    key.encode(w, HEADER);
    version.encode(w, HEADER);
    correlation_id.encode(w, HEADER);
    w.put_string(client_id, HEADER);
    if is_flexible_request(key, version) {
        w.put_unsigned_varint(0);
    }
}

/// Reads the header of a request. Of a request that this crate does not know, the header is read up to the client id.
pub fn decode_request_header(r: &mut Reader) -> Result<RequestHeader, DecodeError> {
    let api_key: i16 = r.take("request_api_key", HEADER)?;
    let api_version: i16 = r.take("request_api_version", HEADER)?;
    let header = RequestHeader {
        api_key,
        api_version,
        correlation_id: r.take("correlation_id", HEADER)?,
        client_id: r.take("client_id", HEADER)?,
    };
    if is_flexible_request(api_key, api_version) {
        r.take_tagged_fields(crate::wire::pass_over)?;
    }
    Ok(header)
}

/// A whole frame, length prefix included, that carries `request` in `version`.
pub fn encode_request<R: Request>(
    request: &R,
    version: i16,
    correlation_id: i32,
    client_id: Option<&str>,
) -> Bytes {
    let mut w = Writer::with_capacity(256);
    w.put_slice(&[0; LENGTH_PREFIX]);
    put_request_header(&mut w, (R::KEY.code(), version), correlation_id, client_id);
    request.encode(&mut w, R::KEY.version(version));
    finish(w)
}

/// A whole frame, length prefix included, that answers the request `correlation_id` with `response`.
pub fn encode_response<T: Field>(key: ApiKey, version: i16, correlation_id: i32, response: &T) -> Bytes {
    let mut w = Writer::with_capacity(256);
    w.put_slice(&[0; LENGTH_PREFIX]);
    correlation_id.encode(&mut w, HEADER);
    if has_tagged_response_header(key, version) {
        w.put_unsigned_varint(0);
    }
    response.encode(&mut w, key.version(version));
    finish(w)
}

/// Reads the header of a response to a request `key` in `version`: the correlation id.
pub fn decode_response_header(r: &mut Reader, key: ApiKey, version: i16) -> Result<i32, DecodeError> {
    let correlation_id = r.take("correlation_id", HEADER)?;
    if has_tagged_response_header(key, version) {
        r.take_tagged_fields(crate::wire::pass_over)?;
    }
    Ok(correlation_id)
}

/// Reads the correlation id with which every response begins, whatever it answers.
pub fn peek_correlation_id(frame: &Bytes) -> Result<i32, DecodeError> {
    Reader::new(frame.clone()).take("correlation_id", HEADER)
}

/// Reads a frame without its length prefix as the answer to an `R` in `version`. Bytes behind the message are passed over (B-12).
pub fn decode_response<R: Request>(frame: Bytes, version: i16) -> Result<(i32, R::Response), DecodeError> {
    let mut r = Reader::new(frame);
    let correlation_id = decode_response_header(&mut r, R::KEY, version)?;
    let response = decode_message(&mut r, R::KEY, version)?;
    Ok((correlation_id, response))
}

/// Reads the body of a request or response to `key` in `version`; refuses versions that this crate has no layout for.
pub fn decode_message<T: Field>(r: &mut Reader, key: ApiKey, version: i16) -> Result<T, DecodeError> {
    if !key.supported().contains(version) {
        return Err(r.error(Problem::UnknownVersion(version)));
    }
    T::decode(r, key.version(version))
}

fn is_flexible_request(api_key: i16, version: i16) -> bool {
    ApiKey::from_code(api_key).is_some_and(|key| key.version(version).flexible)
}

/// N-35: the answer to ApiVersions has the oldest header in every version, because the client does not know yet what the broker
/// speaks.
fn has_tagged_response_header(key: ApiKey, version: i16) -> bool {
    key != ApiKey::ApiVersions && key.version(version).flexible
}

fn finish(mut w: Writer) -> Bytes {
    let len = i32::try_from(w.len() - LENGTH_PREFIX).unwrap_or(i32::MAX);
    w.set_i32(0, len);
    w.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataRequest, MetadataResponse};

    fn reader(frame: &Bytes) -> Reader {
        assert_eq!(frame[..4], ((frame.len() - 4) as i32).to_be_bytes());
        Reader::new(frame.slice(4..))
    }

    /// Annex B: the client id keeps its two-byte length in both headers, and a flexible one ends with tagged fields.
    #[test]
    fn a_request_comes_back_from_its_frame() {
        for version in 0..=13 {
            let request = MetadataRequest::default();
            let mut r = reader(&encode_request(&request, version, 77, Some("me")));
            let header = decode_request_header(&mut r).expect("a header");
            assert_eq!(
                (header.api_key, header.api_version, header.correlation_id),
                (3, version, 77)
            );
            assert_eq!(header.client_id.as_deref(), Some("me"));
            assert_eq!(
                decode_message::<MetadataRequest>(&mut r, ApiKey::Metadata, version),
                Ok(request)
            );
            assert_eq!(r.remaining(), 0);
        }
    }

    /// N-35: the response header of ApiVersions is the oldest one in every version.
    #[test]
    fn the_answer_to_api_versions_has_the_oldest_header() {
        let frame = encode_response(ApiKey::ApiVersions, 3, 5, &ApiVersionsResponse::default());
        assert_eq!(frame[4..10], [0, 0, 0, 5, 0, 0]);
        let answer = decode_response::<ApiVersionsRequest>(frame.slice(4..), 3);
        assert_eq!(answer, Ok((5, ApiVersionsResponse::default())));

        let frame = encode_response(ApiKey::Metadata, 12, 5, &MetadataResponse::default());
        assert_eq!(frame[4..9], [0, 0, 0, 5, 0]);
        let answer = decode_response::<MetadataRequest>(frame.slice(4..), 12);
        assert_eq!(answer, Ok((5, MetadataResponse::default())));
    }

    #[test]
    fn a_version_without_a_layout_is_refused() {
        let answer = decode_response::<MetadataRequest>(Bytes::from_static(&[0; 64]), 99);
        assert!(matches!(
            answer,
            Err(DecodeError {
                problem: Problem::UnknownVersion(99),
                ..
            })
        ));
    }
}
