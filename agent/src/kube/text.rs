//! Texts that a server sends, for logs and the landing page.

/// The beginning of a text, `max` characters at most, in one line without control characters.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    for (index, character) in text.trim().chars().enumerate() {
        if index == max {
            line.push('…');
            break;
        }
        // What is plain is shown as it is; `escape_debug` would escape quotes as well.
        if matches!(character, ' '..='~') {
            line.push(character);
        } else {
            line.extend(character.escape_debug());
        }
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
