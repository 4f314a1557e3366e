//! A line of the log, made harmless: one line, of bounded length, that steers no terminal.
//!
//! Every line passes here, whatever names, paths or answers of servers are in it.

use serde_json::{Map, Value};

use crate::escape;

/// Maximum length of a line in bytes, before its escapes.
const LINE_BYTES: usize = 4 << 10;
/// Maximum length of a string in a line of JSON that is too long.
const STRING_BYTES: usize = 512;
/// Maximum number of fields in such a line.
const FIELDS: usize = 32;
/// Mark of a text that was cut.
const CUT: &str = "… (cut)";

/// A line of text.
pub(super) fn text(line: &str) -> Vec<u8> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let (kept, mark) = cut(line, LINE_BYTES);
    let mut bytes = escape::line(kept).into_owned().into_bytes();
    bytes.extend_from_slice(mark.as_bytes());
    bytes.push(b'\n');
    bytes
}

/// A line that is a JSON object: still one afterwards.
pub(super) fn json(line: &str) -> Vec<u8> {
    let line = line.strip_suffix('\n').unwrap_or(line);
    let shorter;
    let line = if line.len() > LINE_BYTES {
        shorter = shortened(line);
        &shorter
    } else {
        line
    };
    let mut bytes = Vec::with_capacity(line.len() + 1);
    let mut units = [0; 2];
    for c in line.chars() {
        if escape::is_hostile(c) {
            // A formatter of JSON leaves such characters in strings alone, where this means the same.
            for unit in c.encode_utf16(&mut units) {
                bytes.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        } else {
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    bytes.push(b'\n');
    bytes
}

/// The same object with its strings cut.
fn shortened(line: &str) -> String {
    let mut object = match serde_json::from_str(line) {
        Ok(Value::Object(object)) => object,
        // No formatter writes that.
        _ => Map::from_iter([("message".to_owned(), Value::from(line))]),
    };
    let fields = std::mem::take(&mut object).into_iter().take(FIELDS);
    let fields = fields.map(|(name, value)| (name, short(value)));
    Value::Object(fields.collect()).to_string()
}

fn short(value: Value) -> Value {
    let text = match value {
        Value::String(text) => text,
        nested @ (Value::Array(_) | Value::Object(_)) => nested.to_string(),
        plain => return plain,
    };
    let (kept, mark) = cut(&text, STRING_BYTES);
    Value::String(format!("{kept}{mark}"))
}

/// The beginning of a text, and the mark that it was cut.
fn cut(text: &str, max: usize) -> (&str, &'static str) {
    if text.len() <= max {
        return (text, "");
    }
    let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    (text.get(..end).unwrap_or_default(), CUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str =
        "a\nb\r\u{1b}[31m\u{7f}\u{85}\u{9b}31m\u{202e}\u{2066}\u{2028}\u{e0041}\u{200b}";

    fn string(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_stays_one_line() {
        let text = string(text(&format!("INFO x: {HOSTILE}\n")));
        let inner = text.strip_suffix('\n').unwrap();
        assert!(!inner.contains(escape::is_hostile), "{inner}");
        let object = serde_json::json!({ "message": "x", "pod": HOSTILE });
        // serde_json leaves all but C0 as they are.
        let json = string(json(&format!("{object}\n")));
        let inner = json.strip_suffix('\n').unwrap();
        assert!(!inner.contains(escape::is_hostile), "{inner}");
        assert_eq!(serde_json::from_str::<Value>(inner).unwrap(), object, "it says the same");
    }

    #[test]
    fn a_long_line_is_cut() {
        let long = "é".repeat(35_000);
        let text = string(text(&format!("INFO x: {long}\n")));
        assert!(text.len() < LINE_BYTES + 32 && text.ends_with("é… (cut)\n"), "{}", text.len());
        let object = serde_json::json!({
            "level": "WARN", "message": "x", "error": long, "n": 7, "list": [long, HOSTILE],
        });
        let json = string(json(&format!("{object}\n")));
        assert!(json.len() < LINE_BYTES, "{}", json.len());
        let object: Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&object["message"], &object["n"]), (&"x".into(), &7.into()));
        assert!(object["error"].as_str().unwrap().ends_with("é… (cut)"));
        let escapes = "\\u001b".repeat(10_000);
        let json = string(self::json(&format!("{{\"a\":\"{escapes}\"}}\n")));
        assert!(json.len() < LINE_BYTES, "{}", json.len());
    }
}
