//! Batch: encoded traces in a row, which are an `ExportTraceServiceRequest`. Nothing is encoded again.

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use super::encode::Encoded;

/// Number of the field `ExportTraceServiceRequest.resource_spans`.
const RESOURCE_SPANS: u32 = 1;

/// The request with these traces.
pub(super) fn body(batch: &[Encoded]) -> Bytes {
    let length = |encoded: &Encoded| {
        let length = encoded.bytes.len();
        key_len(RESOURCE_SPANS) + encoded_len_varint(length as u64) + length
    };
    let mut body = BytesMut::with_capacity(batch.iter().map(length).sum());
    for encoded in batch {
        encode_key(RESOURCE_SPANS, WireType::LengthDelimited, &mut body);
        encode_varint(encoded.bytes.len() as u64, &mut body);
        body.put_slice(&encoded.bytes);
    }
    body.freeze()
}
