//! Messages in which a receiver explains a refusal (`google.rpc`), as far as they are read.

use std::time::Duration;

use prost::Message;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Status {
    /// Words.
    #[prost(string, tag = "2")]
    pub(super) message: String,
    /// More about it.
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Any {
    /// URL that ends with the name of the type.
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    /// The encoded message.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct RetryInfo {
    /// Rest before the next attempt.
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct ProtoDuration {
    /// Whole seconds.
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    /// Nanoseconds beside them.
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

impl Status {
    /// The rest that a `RetryInfo` among the details asks for. One without a delay, or with a
    /// negative one, asks for none, and says that the request may be sent again.
    pub(super) fn retry_delay(&self) -> Option<Duration> {
        let is_retry_info = |any: &&Any| any.type_url.rsplit('/').next() == Some(RETRY_INFO);
        let any = self.details.iter().find(is_retry_info)?;
        let delay = RetryInfo::decode(&*any.value).ok()?.retry_delay.unwrap_or_default();
        let seconds = Duration::from_secs(u64::try_from(delay.seconds).unwrap_or_default());
        let nanos = u64::try_from(delay.nanos).unwrap_or_default();
        Some(seconds.saturating_add(Duration::from_nanos(nanos)))
    }
}

const RETRY_INFO: &str = "google.rpc.RetryInfo";

/// The status of these bytes with a `RetryInfo`, for tests.
#[cfg(test)]
pub(super) fn with_retry_info(message: &str, seconds: i64, nanos: i32) -> Status {
    let retry_info = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos }) };
    let other = Any { type_url: "type.googleapis.com/google.rpc.DebugInfo".into(), value: vec![9] };
    let type_url = format!("type.googleapis.com/{RETRY_INFO}");
    let retry = Any { type_url, value: retry_info.encode_to_vec() };
    Status { message: message.into(), details: vec![other, retry] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_is_found_among_the_details() {
        let delay = |seconds, nanos| {
            let bytes = with_retry_info("", seconds, nanos).encode_to_vec();
            Status::decode(&*bytes).unwrap().retry_delay()
        };
        assert_eq!(delay(2, 500_000_000), Some(Duration::from_millis(2500)));
        assert_eq!(delay(-1, -1), Some(Duration::ZERO));
        assert_eq!(
            delay(i64::MAX, i32::MAX).map(|it| it > Duration::from_secs(1 << 60)),
            Some(true)
        );
        assert_eq!(Status::default().retry_delay(), None);
        let mut broken = with_retry_info("", 1, 0);
        broken.details[1].value = vec![0xff; 9];
        assert_eq!(broken.retry_delay(), None);
        // As googleapis has it on the wire: the fields' numbers are not ours to choose.
        let bytes = b"\x08\x08\x12\x04busy\x1a\x30\n(type.googleapis.com/google.rpc.RetryInfo\x12\x04\n\x02\x08\x03";
        let status = Status::decode(&bytes[..]).unwrap();
        assert_eq!(
            (&*status.message, status.retry_delay()),
            ("busy", Some(Duration::from_secs(3)))
        );
    }
}
