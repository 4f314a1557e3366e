//! Text in chunks: a large exposition is never one block of memory, nor copied to grow, and each
//! chunk is freed when it is written to the client.

use bytes::Bytes;

/// Capacity of a chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// Least room for a line: a chunk with less is closed. Few lines are longer; such a line makes its
/// chunk grow.
const LINE_BYTES: usize = 1 << 10;

/// Chunks of a text, written one after the other.
#[derive(Debug)]
pub(super) struct Chunks {
    closed: Vec<Bytes>,
    open: Vec<u8>,
}

impl Chunks {
    pub(super) fn new() -> Self {
        Self { closed: Vec::new(), open: Vec::with_capacity(CHUNK_BYTES) }
    }

    /// The chunk to append to.
    #[inline]
    pub(super) const fn open(&mut self) -> &mut Vec<u8> {
        &mut self.open
    }

    /// The number of the open chunk, and of the bytes in it.
    #[inline]
    pub(super) const fn position(&self) -> (usize, usize) {
        (self.closed.len(), self.open.len())
    }

    /// Ends a line: the next may go to another chunk.
    #[inline]
    pub(super) fn end_line(&mut self) {
        if self.open.len() > CHUNK_BYTES - LINE_BYTES {
            let full = std::mem::replace(&mut self.open, Vec::with_capacity(CHUNK_BYTES));
            self.closed.push(full.into());
        }
    }

    /// All chunks, none of them empty.
    pub(super) fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.closed.push(self.open.into());
        }
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::{CHUNK_BYTES, Chunks, LINE_BYTES};

    #[test]
    fn chunks_are_lines_and_none_is_large() {
        let mut chunks = Chunks::new();
        let mut whole = Vec::new();
        for at in 0..20_000 {
            let line = format!("{at} {}\n", "x".repeat(at % 100));
            chunks.open().extend_from_slice(line.as_bytes());
            chunks.end_line();
            whole.extend_from_slice(line.as_bytes());
        }
        let chunks = chunks.finish();
        assert_eq!(chunks.concat(), whole);
        assert!(chunks.len() > 10);
        for chunk in &chunks {
            assert!(chunk.ends_with(b"\n") && chunk.len() <= CHUNK_BYTES);
        }
    }

    #[test]
    fn a_long_line_is_one_chunk_and_nothing_is_none() {
        let mut chunks = Chunks::new();
        chunks.open().resize(3 * CHUNK_BYTES, b'x');
        chunks.end_line();
        chunks.open().resize(CHUNK_BYTES - LINE_BYTES + 1, b'x');
        chunks.end_line();
        let lengths: Vec<_> = chunks.finish().iter().map(bytes::Bytes::len).collect();
        assert_eq!(lengths, [3 * CHUNK_BYTES, CHUNK_BYTES - LINE_BYTES + 1]);
        assert!(Chunks::new().finish().is_empty());
    }
}
