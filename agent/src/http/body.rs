//! Body of an answer: chunks, each freed when it is written.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use super::guest::Given;

/// Body of an answer, in chunks.
pub(super) struct Body {
    chunks: std::vec::IntoIter<Bytes>,
    /// Bytes of the remaining chunks.
    left: u64,
    /// Guard that reports to the house, when the body is dropped, that all is given.
    _given: Given,
}

impl Body {
    /// A body of these chunks.
    pub(super) fn new(chunks: Vec<Bytes>, given: Given) -> Self {
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks: chunks.into_iter(), left, _given: given }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let chunk = self.chunks.next();
        self.left = self.left.saturating_sub(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        Poll::Ready(chunk.map(|chunk| Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use hyper::body::Body as _;

    use super::{Body, Bytes, Context, Given, Pin, Poll};

    /// Memory of a chunk that shows when it is freed.
    struct Memory {
        bytes: Vec<u8>,
        _live: Arc<()>,
    }

    impl AsRef<[u8]> for Memory {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }

    const COUNT: usize = 20;

    #[test]
    fn chunks_are_freed_as_they_are_written() {
        let live = Arc::new(());
        let memory = |at: usize| Memory {
            bytes: format!("{at} \n").repeat(9000).into(),
            _live: Arc::clone(&live),
        };
        let chunks: Vec<_> = (0..COUNT).map(|at| Bytes::from_owner(memory(at))).collect();
        let whole = chunks.concat();
        let mut body = Body::new(chunks, Given::default());
        let mut written = Vec::new();
        let poll = |body: &mut Body| {
            let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
            frame.map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap()))
        };
        for at in 0..COUNT {
            assert_eq!(body.size_hint().exact(), Some((whole.len() - written.len()) as u64));
            let Poll::Ready(Some(chunk)) = poll(&mut body) else { panic!("chunk {at}") };
            written.extend_from_slice(&chunk);
            drop(chunk);
            assert_eq!(Arc::strong_count(&live) - 1, COUNT - 1 - at);
        }
        assert!(body.is_end_stream() && poll(&mut body) == Poll::Ready(None));
        assert_eq!(written, whole);
        assert!(Body::new(Vec::new(), Given::default()).is_end_stream());
    }
}
