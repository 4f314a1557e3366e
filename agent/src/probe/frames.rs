//! Frames of HTTP/2 (RFC 9113) in the first bytes of a connection, as far as a probe needs them.

/// What a client of HTTP/2 sends first (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length of a frame's header, in bytes.
const HEADER_BYTES: usize = 9;

/// Frame types (RFC 9113, section 6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;

const END_STREAM: u8 = 0x1;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// A frame, of whose payload the end may be missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: u8,
    flags: u8,
    /// Length of the payload, in bytes.
    length: usize,
    /// The payload, as far as it is there.
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Whether no more frames follow on its stream.
    pub(super) const fn ends_stream(&self) -> bool {
        self.flags & END_STREAM != 0
    }

    /// The fields or the data in the payload, without what surrounds them.
    fn content(&self) -> Option<&'a [u8]> {
        let mut content = self.payload;
        if self.flags & PADDED != 0 {
            let (pad, rest) = content.split_first()?;
            let kept = self.length.checked_sub(1 + usize::from(*pad))?;
            content = rest.get(..kept).unwrap_or(rest);
        }
        if self.kind == HEADERS && self.flags & PRIORITY != 0 {
            content = content.get(5..)?;
        }
        Some(content)
    }

    /// The status of a block of fields, which is its first field (RFC 9113, section 8.3.2).
    ///
    /// An entry of the static table (RFC 7541, appendix A), or a literal under the name of one, in
    /// clear or in Huffman's code. A field of the dynamic table cannot be the first of a connection.
    pub(super) fn status(&self) -> Option<u16> {
        const STATUSES: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        let mut block = self.content()?;
        // Changes of the table's size come first (RFC 7541, section 6.3).
        while let Some((first, rest)) =
            block.split_first().filter(|(first, _)| **first & 0xe0 == 0x20)
        {
            block = rest;
            if first & 0x1f == 0x1f {
                let end = block.iter().position(|byte| byte & 0x80 == 0)?;
                block = block.get(end + 1..)?;
            }
        }
        let (first, rest) = block.split_first()?;
        let is_status = |index: u8| (8..=14).contains(&index);
        if first & 0x80 != 0 {
            let entry = usize::from(first & 0x7f).checked_sub(8)?;
            return STATUSES.get(entry).copied();
        }
        let index = if first & 0x40 != 0 { first & 0x3f } else { first & 0x0f };
        let (length, value) = rest.split_first().filter(|_| is_status(index))?;
        let value = value.get(..usize::from(length & 0x7f))?;
        if length & 0x80 == 0 { decimal(value) } else { huffman(value) }
    }

    /// The first message of gRPC in a frame of data (gRPC over HTTP/2, "Length-Prefixed-Message"),
    /// unless it is compressed or its end is missing.
    pub(super) fn message(&self) -> Option<&'a [u8]> {
        let [0, a, b, c, d, rest @ ..] = self.content()? else { return None };
        let length = u32::from_be_bytes([*a, *b, *c, *d]);
        rest.get(..usize::try_from(length).ok()?)
    }
}

/// The frames in `bytes`, which begin with one.
pub(super) fn frames(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (header, behind) = rest.split_at_checked(HEADER_BYTES)?;
        let [a, b, c, kind, flags, ..] = *header else { return None };
        let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
        let payload = behind.get(..length).unwrap_or(behind);
        rest = behind.get(length..).unwrap_or_default();
        Some(Frame { kind, flags, length, payload })
    })
}

/// A status of three digits.
pub(super) fn decimal(digits: &[u8]) -> Option<u16> {
    let [a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] = *digits else { return None };
    let digit = |byte: u8| u16::from(byte.wrapping_sub(b'0'));
    Some(digit(a) * 100 + digit(b) * 10 + digit(c))
}

/// A status of three digits in Huffman's code (RFC 7541, appendix B): 0, 1 and 2 have 5 bits each,
/// from 00000 on, the other digits 6 bits, from 011001 on.
fn huffman(value: &[u8]) -> Option<u16> {
    if value.len() > 3 {
        return None;
    }
    let bits = value.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
    let mut left = 8 * u32::try_from(value.len()).ok()?;
    let mut number = 0;
    for _ in 0..3 {
        let peek = |count: u32| {
            Some((bits >> left.checked_sub(count)?) & ((1 << count) - 1)).map(|code| (code, count))
        };
        let short = peek(5).filter(|(code, _)| *code <= 2);
        let (digit, count) = match short {
            Some(found) => found,
            None => {
                let (code, count) = peek(6).filter(|(code, _)| (0x19..=0x1f).contains(code))?;
                (code - 0x19 + 3, count)
            }
        };
        left -= count;
        number = number * 10 + digit;
    }
    // What is left is padding.
    (left < 8).then(|| u16::try_from(number).ok())?.filter(|status| *status >= 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(block: &[u8]) -> Vec<u8> {
        [&[0, 0, u8::try_from(block.len()).unwrap(), HEADERS, 4, 0, 0, 0, 1][..], block].concat()
    }

    fn status(block: &[u8]) -> Option<u16> {
        frames(&headers(block)).next().unwrap().status()
    }

    #[test]
    fn a_status_is_read_in_each_of_its_forms() {
        for (block, expected) in [
            (&[0x88][..], Some(200)),
            (&[0x8d, 0x5f], Some(404)),
            (&[0x8e], Some(500)),
            (&[0x3f, 0xe1, 0x1f, 0x88], Some(200)),
            (&[0x20, 0x89], Some(204)),
            (&[0x48, 3, b'5', b'0', b'3'], Some(503)),
            (&[0x08, 3, b'3', b'0', b'2'], Some(302)),
            // RFC 7541, C.6.1: 302 in Huffman's code.
            (&[0x48, 0x82, 0x64, 0x02], Some(302)),
            // C.6.2: 307.
            (&[0x48, 0x83, 0x64, 0x0e, 0xff], Some(307)),
            (&[0x8f], None),
            (&[0xbe], None),
            (&[0x48, 3, b'5', b'0'], None),
            (&[0x42, 3, b'5', b'0', b'3'], None),
            (&[], None),
        ] {
            assert_eq!(status(block), expected, "{block:x?}");
        }
    }

    #[test]
    fn padding_and_priority_are_left_out() {
        let frame =
            [0, 0, 9, HEADERS, 4 | PADDED | PRIORITY, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x8d, 0, 0];
        assert_eq!(frames(&frame).next().unwrap().status(), Some(404));
        let hostile = [0, 0, 2, HEADERS, 4 | PADDED, 0, 0, 0, 1, 200, 0x88];
        assert_eq!(frames(&hostile).next().unwrap().status(), None);
    }

    #[test]
    fn a_message_may_be_cut() {
        let frame = [0, 0, 7, DATA, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 8, 1];
        assert_eq!(frames(&frame).next().unwrap().message(), Some(&[8, 1][..]));
        assert_eq!(frames(&frame[..15]).next().unwrap().message(), None);
    }
}
