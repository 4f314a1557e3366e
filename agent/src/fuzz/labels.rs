//! Escaping of label values, which a tenant may choose.

use testbed::exposition::{Exposition, Format};

use super::seeds::texts;
use crate::metrics::expose::{Block, write_label};

/// The input as the value of a label: a reader of the exposition gets it back.
pub(super) fn run(input: &[u8]) -> bool {
    let Ok(value) = std::str::from_utf8(input) else { return false };
    // What a NUL is replaced by.
    let expected = value.replace('\0', "\u{fffd}");
    let mut out = Vec::new();
    write_label(&mut out, "pod", value);
    let text = String::from_utf8(out).unwrap_or_default();
    let inner = text.strip_prefix("pod=\"").and_then(|text| text.strip_suffix('"'));
    let inner = inner.unwrap_or_default();
    assert_eq!(unescape(inner).as_deref(), Some(expected.as_str()), "{text:?}");
    assert!(!inner.contains(['\n', '\0']), "{text:?}");
    assert!(inner.len() <= 3 * value.len(), "{} bytes of {}", inner.len(), value.len());

    // Beside others, and by a parser of expositions.
    let block = Block::new(&[("namespace", "default"), ("pod", value), ("container", "main")]);
    let labels = String::from_utf8_lossy(block.bytes()).into_owned();
    let whole = format!("# HELP m About m.\n# TYPE m gauge\nm{{{labels}}} 1\n");
    let read = Exposition::parse(&whole, Format::Text);
    assert!(read.is_ok(), "{read:?}: {whole:?}");
    let samples: Vec<_> = read
        .iter()
        .flat_map(Exposition::samples)
        .map(|it| ["pod", "container"].map(|name| it.label(name).to_owned()))
        .collect();
    assert_eq!(samples, [[expected, "main".to_owned()]]);
    true
}

/// The value that is written so; `None` if nothing is.
fn unescape(text: &str) -> Option<String> {
    let mut value = String::new();
    let mut all = text.chars();
    while let Some(c) = all.next() {
        value.push(match (c, c == '\\') {
            (_, true) => match all.next()? {
                'n' => '\n',
                c @ ('\\' | '"') => c,
                _ => return None,
            },
            ('"', _) => return None,
            (c, _) => c,
        });
    }
    Some(value)
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    texts(&[
        "web-7d4b9c-x2x9k",
        "a\"} 1\nevil{x=\"",
        "C:\\new\\\"quoted\"\r\n\ttab",
        "\0nul \u{1b}[31mred\u{202e} \u{e4}\u{1f980}",
        "",
    ])
}
