//! Texts that a server sends, for logs and the landing page.

use crate::escape;

/// The beginning of a text, `max` characters at most, in one line without hostile characters.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let text = text.trim();
    let end = text.char_indices().nth(max).map(|(end, _)| end);
    let beginning = end.and_then(|end| text.get(..end));
    let mut line = escape::line(beginning.unwrap_or(text)).into_owned();
    if beginning.is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_line_is_cut_and_escaped() {
        assert_eq!(one_line(" pods \"x\" is\nforbidden\t", 99), r#"pods "x" is\nforbidden"#);
        assert_eq!(one_line("\u{1b}[2Jé\u{202e}", 99), r"\u{1b}[2Jé\u{202e}");
        assert_eq!(one_line(&"é".repeat(70_000), 3), "ééé…");
        assert_eq!(one_line("abc", 3), "abc");
    }
}
