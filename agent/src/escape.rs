//! Escapes for text that untrusted Pods choose: no byte of it steers a terminal or splits a line of
//! the log, and two names that differ stay two.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Whether a character may do more than be seen: controls of both sets, the line and paragraph
/// separators, and the format characters (Unicode's general category Cf), which reorder, join or
/// hide their neighbours.
#[must_use]
pub const fn is_hostile(c: char) -> bool {
    c.is_ascii_control()
        || matches!(
            c,
            '\u{80}'..='\u{9f}'
                | '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0001}'
                | '\u{e0020}'..='\u{e007f}'
        )
}

/// Name of any bytes as text. Bytes that are no UTF-8, and those of hostile characters, become
/// `\xNN`. A backslash stays as it is, as in the names of systemd's units, unless what follows it
/// looks like such an escape: so different bytes have different names.
#[must_use]
pub fn name(bytes: &[u8]) -> String {
    let mut name = String::with_capacity(bytes.len());
    let mut rest = bytes;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let (char_bytes, after) = rest.split_at_checked(c.len_utf8()).unwrap_or((rest, &[]));
            rest = after;
            if is_hostile(c) || (c == '\\' && looks_escaped(after)) {
                push_escaped(&mut name, char_bytes);
            } else {
                name.push(c);
            }
        }
        push_escaped(&mut name, chunk.invalid());
        rest = rest.get(chunk.invalid().len()..).unwrap_or_default();
    }
    name
}

/// Name of a path as text, as [`name`] writes it.
#[must_use]
pub fn path(path: &Path) -> String {
    name(path.as_os_str().as_bytes())
}

/// Text for one line on a terminal or in a log: hostile characters become `\u{N}`, or `\n` and the
/// like.
#[must_use]
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, is_hostile)
}

/// Text for a terminal, in lines of the program's own: as [`line`], but lines may end.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c != '\n' && is_hostile(c))
}

fn escaped(text: &str, is_hostile: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hostile(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

fn push_escaped(name: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _never_fails = write!(name, "\\x{byte:02x}");
    }
}

/// Whether text after a backslash would be read as the rest of an escape that [`name`] writes.
fn looks_escaped(after: &[u8]) -> bool {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let &[b'x', high, low, ..] = after else { return false };
    let (Some(high), Some(low)) = (digit(high), digit(low)) else { return false };
    matches!(high << 4 | low, 0..=0x1f | b'\\' | 0x7f..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes that a name stands for.
    fn unescaped(name: &str) -> Vec<u8> {
        let (mut bytes, mut rest) = (Vec::new(), name.as_bytes());
        while let Some((first, after)) = rest.split_first() {
            if *first == b'\\' && looks_escaped(after) {
                let digits = std::str::from_utf8(&after[1..3]).unwrap();
                bytes.push(u8::from_str_radix(digits, 16).unwrap());
                rest = &after[3..];
            } else {
                bytes.push(*first);
                rest = after;
            }
        }
        bytes
    }

    #[test]
    fn names_stay_readable() {
        for plain in ["web-0", "dev-disk-by\\x2duuid.swap", "C:\\temp", "größe", "容器", ""] {
            assert_eq!(name(plain.as_bytes()), plain);
        }
        assert_eq!(name(b"a\xff"), "a\\xff");
        assert_eq!(name(b"a\xfe"), "a\\xfe");
        assert_eq!(name(b"a\\xff"), "a\\x5cxff");
        assert_eq!(
            name("a\u{1b}[31m\n\u{85}\u{202e}".as_bytes()),
            "a\\x1b[31m\\x0a\\xc2\\x85\\xe2\\x80\\xae"
        );
        assert_eq!(path(Path::new("/sys/fs/cgroup")), "/sys/fs/cgroup");
    }

    #[test]
    fn nothing_hostile_is_in_a_line() {
        let text =
            "a\n\r\u{1b}]0;x\u{7}\u{7f}\u{85}\u{9b}31m\u{200e}\u{202e}\u{2066}\u{2028}\u{feff}";
        assert!(!line(text).contains(is_hostile), "{}", line(text));
        assert!(line(text).starts_with("a\\n\\r\\u{1b}]0;x\\u{7}"), "{}", line(text));
        assert_eq!(lines("a\nb\r"), "a\nb\\r");
        assert!(matches!(line("größe 容器 \\"), Cow::Borrowed(_)));
    }

    proptest! {
        #[test]
        fn different_bytes_have_different_names(
            bytes in prop::collection::vec(
                prop_oneof![any::<u8>(), prop::sample::select(b"\\x0f5c\xe2\x80\xae".to_vec())],
                0..24,
            )
        ) {
            let name = name(&bytes);
            prop_assert!(!name.contains(is_hostile));
            prop_assert_eq!(unescaped(&name), bytes);
        }
    }
}
