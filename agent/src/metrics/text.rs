//! The text of one collection, written once for all readers. A series that is new to a scraper is
//! shown to that one as it was before its first event.

use bytes::Bytes;

use super::variant::{Generation, Seen};

/// Value of a sample whose series was first shown lately.
#[derive(Clone, Copy, Debug)]
pub(super) struct News {
    pub(super) first_shown: Generation,
    /// The number of the chunk.
    pub(super) chunk: usize,
    /// The first byte of the value in the chunk, and the byte after the last of its exemplar, or of
    /// the value where it has none.
    pub(super) value: (usize, usize),
    /// The value before the first event.
    pub(super) initial: u64,
}

/// The text of a collection in one format, in chunks of about 64 KiB.
#[derive(Debug)]
pub struct Text {
    chunks: Vec<Bytes>,
    /// In the order of the text.
    news: Vec<News>,
}

impl Text {
    pub(super) const fn new(chunks: Vec<Bytes>, news: Vec<News>) -> Self {
        Self { chunks, news }
    }

    /// The same text, with each chunk passed through `map`.
    #[must_use]
    pub fn map(self, map: impl Fn(Bytes) -> Bytes) -> Self {
        Self { chunks: self.chunks.into_iter().map(map).collect(), ..self }
    }

    /// Length of the text in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.chunks.iter().map(Bytes::len).sum()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of values that are news to a reader who has seen these series. With the same
    /// number, two readers get the same text.
    #[must_use]
    pub fn news(&self, seen: Seen) -> usize {
        self.news.iter().filter(|news| !seen.has(news.first_shown)).count()
    }

    /// The text for a reader who has seen these series. Chunks without news for this reader are
    /// shared, the others are copied with the values before the first event, and passed through
    /// `map`.
    #[must_use]
    pub fn for_reader(&self, seen: Seen, map: impl Fn(Bytes) -> Bytes) -> Vec<Bytes> {
        let mut chunks = self.chunks.clone();
        let mut news = self.news.iter().filter(|news| !seen.has(news.first_shown)).peekable();
        while let Some(first) = news.peek().map(|news| news.chunk) {
            let mut of_chunk = Vec::new();
            while let Some(one) = news.next_if(|news| news.chunk == first) {
                of_chunk.push(one);
            }
            if let Some(chunk) = chunks.get_mut(first) {
                *chunk = map(before_the_first_event(chunk, &of_chunk));
            }
        }
        chunks
    }
}

fn before_the_first_event(chunk: &Bytes, news: &[&News]) -> Bytes {
    let mut text = Vec::with_capacity(chunk.len());
    let mut copied = 0;
    for News { value: (begin, end), initial, .. } in news {
        text.extend_from_slice(chunk.get(copied..*begin).unwrap_or_default());
        text.extend_from_slice(itoa::Buffer::new().format(*initial).as_bytes());
        copied = *end;
    }
    text.extend_from_slice(chunk.get(copied..).unwrap_or_default());
    text.into()
}

#[cfg(test)]
mod tests {
    use super::{News, Seen, Text};
    use crate::metrics::variant::Generation;

    #[test]
    fn news_are_shown_as_before_and_other_chunks_are_shared() {
        let early = Generation::FIRST;
        let late = early.next(100);
        let chunks = ["a 1\nb 25\nc 3\n", "d 4\n"].map(|chunk| chunk.as_bytes().into()).to_vec();
        let news = |first_shown, value, initial| News { first_shown, chunk: 0, value, initial };
        let text = Text::new(
            chunks,
            vec![news(late, (2, 3), 0), news(early, (6, 8), 20), news(late, (11, 12), 0)],
        );
        let read = |seen| text.for_reader(seen, |chunk| chunk).concat();
        assert_eq!(read(Seen::ALL), *b"a 1\nb 25\nc 3\nd 4\n");
        assert_eq!(read(late.seen()), *b"a 1\nb 25\nc 3\nd 4\n");
        assert_eq!(read(early.seen()), *b"a 0\nb 25\nc 0\nd 4\n");
        assert_eq!(read(early.stranger()), *b"a 0\nb 20\nc 0\nd 4\n");
        let shared = |seen| {
            text.for_reader(seen, |chunk| chunk)
                .iter()
                .zip(&text.chunks)
                .filter(|(a, b)| a.as_ptr() == b.as_ptr())
                .count()
        };
        assert_eq!((shared(Seen::ALL), shared(early.seen())), (2, 1));
    }
}
