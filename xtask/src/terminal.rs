//! Text for people. Whoever reads it may go away, by a pipe that closes or a terminal that hangs up,
//! and what was started has to be ended in order all the same.

use std::{
    borrow::Cow,
    fmt::Display,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result};

/// Prints a line.
///
/// # Errors
/// Nobody reads it any more: a reason to end for what runs only to be looked at.
pub(crate) fn say(text: impl Display) -> Result<()> {
    writeln!(io::stdout(), "{text}").context("nobody reads what is printed any more")
}

/// Prints a line where there is no one to return an error to.
pub(crate) fn try_say(text: impl Display) {
    let _nobody_reads_it = say(text);
}

/// The same on stderr.
pub(crate) fn note(text: impl Display) {
    let _nobody_reads_it = writeln!(io::stderr(), "{text}");
}

/// Text that others chose, as it may go to a terminal: characters that steer it, end a line, or
/// reorder or hide their neighbours become `\n`, `\u{1b}` and the like.
pub(crate) fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_hostile(c) {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_done() {
        assert!(matches!(plain("shop/größe, 容器"), Cow::Borrowed(_)));
        let hostile = "\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{202e}\u{200b}";
        let shown = r"\u{1b}]0;x\u{7}\u{9b}2J\r\n\u{202e}\u{200b}";
        assert_eq!(plain(hostile), shown);
    }
}
