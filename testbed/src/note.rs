//! Notes on stderr from where there is no one to return an error to.

use std::fmt::Display;
use std::io::Write as _;

/// Says something on stderr. That nobody can read it is no reason to panic.
pub(crate) fn note(text: impl Display) {
    let _nobody_reads_it = writeln!(std::io::stderr(), "{text}");
}
