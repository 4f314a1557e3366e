//! Text in pieces: a large exposition is never one block of memory, nor copied to grow, and each
//! piece is freed when it is written to the client.

use bytes::Bytes;

/// Memory of a piece.
const PIECE_BYTES: usize = 64 << 10;
/// A piece with less room than this is closed. Few lines are longer; such a one makes its piece
/// grow.
const LINE_BYTES: usize = 1 << 10;

/// Pieces that are written one after the other.
#[derive(Debug)]
pub(super) struct Pieces {
    closed: Vec<Bytes>,
    open: Vec<u8>,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self { closed: Vec::new(), open: Vec::with_capacity(PIECE_BYTES) }
    }

    /// Where to append.
    #[inline]
    pub(super) const fn open(&mut self) -> &mut Vec<u8> {
        &mut self.open
    }

    /// A line is whole: the next may go to another piece.
    #[inline]
    pub(super) fn end_line(&mut self) {
        if self.open.len() > PIECE_BYTES - LINE_BYTES {
            let full = std::mem::replace(&mut self.open, Vec::with_capacity(PIECE_BYTES));
            self.closed.push(full.into());
        }
    }

    /// All of them, none empty.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.closed.push(self.open.into());
        }
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES, PIECE_BYTES, Pieces};

    #[test]
    fn pieces_are_lines_and_none_is_large() {
        let mut pieces = Pieces::new();
        let mut whole = Vec::new();
        for at in 0..20_000 {
            let line = format!("{at} {}\n", "x".repeat(at % 100));
            pieces.open().extend_from_slice(line.as_bytes());
            pieces.end_line();
            whole.extend_from_slice(line.as_bytes());
        }
        let pieces = pieces.finish();
        assert_eq!(pieces.concat(), whole);
        assert!(pieces.len() > 10);
        for piece in &pieces {
            assert!(piece.ends_with(b"\n") && piece.len() <= PIECE_BYTES);
        }
    }

    #[test]
    fn a_long_line_is_one_piece_and_nothing_is_none() {
        let mut pieces = Pieces::new();
        pieces.open().resize(3 * PIECE_BYTES, b'x');
        pieces.end_line();
        pieces.open().resize(PIECE_BYTES - LINE_BYTES + 1, b'x');
        pieces.end_line();
        let lengths: Vec<_> = pieces.finish().iter().map(bytes::Bytes::len).collect();
        assert_eq!(lengths, [3 * PIECE_BYTES, PIECE_BYTES - LINE_BYTES + 1]);
        assert!(Pieces::new().finish().is_empty());
    }
}
