//! Heads of HTTP/1, as far as their first bytes go. Pure.

/// Lines that end in CR LF; what is behind the last of them is cut.
pub(super) struct Lines<'a>(pub(super) &'a [u8]);

impl<'a> Lines<'a> {
    /// The first line, and whether it is complete.
    pub(super) fn first(&mut self) -> Option<(&'a [u8], bool)> {
        if let Some(line) = self.next() {
            return Some((line, true));
        }
        (!self.0.is_empty()).then(|| (std::mem::take(&mut self.0), false))
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.windows(2).position(|pair| pair == b"\r\n")?;
        let line = self.0.get(..end)?;
        self.0 = self.0.get(end + 2..).unwrap_or_default();
        Some(line)
    }
}

/// Value of a header with this name in lower case, if the line is one.
pub(super) fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (its, value) = line.split_at_checked(colon)?;
    its.eq_ignore_ascii_case(name).then(|| value.get(1..).unwrap_or_default().trim_ascii())
}
