//! Body of an answer: chunks, each freed when it is written, compressed on the way if requested.

use std::future::Future as _;
use std::io::{self, Write as _};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use hyper::body::{Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

/// Compressed bytes that are collected before they are written.
const FRAME_BYTES: usize = 16 << 10;

/// Body of an answer, in chunks.
pub(super) struct Body {
    chunks: std::vec::IntoIter<Bytes>,
    /// Bytes of the remaining chunks.
    left: u64,
    gzip: Option<Gzip>,
    /// Place among the expositions in memory, held until the last chunk is taken.
    permit: Option<OwnedSemaphorePermit>,
}

/// Compressor. Level 1, because most of the text repeats: higher levels take several times as long
/// for little.
struct Gzip {
    encoder: GzEncoder<Vec<u8>>,
    /// Whether a chunk was just compressed, so that other tasks go first.
    tired: bool,
}

impl Body {
    /// A body of these chunks.
    pub(super) fn new(chunks: Vec<Bytes>) -> Self {
        let left = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self { chunks: chunks.into_iter(), left, gzip: None, permit: None }
    }

    /// The same body, compressed.
    pub(super) fn gzip(mut self) -> Self {
        let encoder = GzEncoder::new(Vec::with_capacity(FRAME_BYTES), Compression::fast());
        self.gzip = Some(Gzip { encoder, tired: false });
        self
    }

    /// The same body, with a permit that it returns when the last chunk is taken, or when the
    /// client has gone.
    pub(super) fn holding(mut self, permit: OwnedSemaphorePermit) -> Self {
        self.permit = Some(permit);
        self
    }

    fn next_chunk(&mut self) -> Option<Bytes> {
        let chunk = self.chunks.next();
        self.left = self.left.saturating_sub(chunk.as_ref().map_or(0, |chunk| chunk.len() as u64));
        if self.left == 0 {
            self.permit = None;
        }
        chunk
    }

    fn poll_gzip(
        &mut self,
        mut gzip: Gzip,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        loop {
            // The owner of the state runs on this thread too. A plain wake-up would not let the
            // runtime poll its descriptors. hyper polls once more before it yields, so two
            // chunks are compressed in a row.
            if std::mem::take(&mut gzip.tired)
                && pin!(tokio::task::yield_now()).poll(cx).is_pending()
            {
                self.gzip = Some(gzip);
                return Poll::Pending;
            }
            let Some(chunk) = self.next_chunk() else {
                return Poll::Ready(Some(
                    gzip.encoder.finish().map(|rest| Frame::data(rest.into())),
                ));
            };
            if let Err(error) = gzip.encoder.write_all(&chunk) {
                return Poll::Ready(Some(Err(error)));
            }
            gzip.tired = true;
            if gzip.encoder.get_ref().len() >= FRAME_BYTES {
                let next = Vec::with_capacity(FRAME_BYTES);
                let full = std::mem::replace(gzip.encoder.get_mut(), next);
                self.gzip = Some(gzip);
                return Poll::Ready(Some(Ok(Frame::data(full.into()))));
            }
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.gzip.take() {
            Some(gzip) => self.poll_gzip(gzip, cx),
            None => Poll::Ready(self.next_chunk().map(|chunk| Ok(Frame::data(chunk)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && self.gzip.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.gzip.is_some() { SizeHint::new() } else { SizeHint::with_exact(self.left) }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;
    use std::task::Waker;

    use hyper::body::Body as _;
    use tokio::sync::Semaphore;

    use super::{Body, Bytes, Context, Pin, Poll};

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

    fn chunks() -> (Vec<Bytes>, Arc<()>) {
        let live = Arc::new(());
        let memory = |at: usize| Memory {
            bytes: format!("{at} \n").repeat(9000).into(),
            _live: Arc::clone(&live),
        };
        ((0..COUNT).map(|at| Bytes::from_owner(memory(at))).collect(), live)
    }

    fn poll(body: &mut Body) -> Poll<Option<Bytes>> {
        let frame = Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()));
        frame.map(|frame| frame.map(|frame| frame.unwrap().into_data().unwrap()))
    }

    #[test]
    fn chunks_and_permit_are_released_as_they_are_written() {
        let places = Arc::new(Semaphore::new(1));
        let place = || Arc::clone(&places).try_acquire_owned().unwrap();
        let (chunks, live) = chunks();
        let whole = chunks.concat();
        let mut body = Body::new(chunks).holding(place());
        let mut written = Vec::new();
        for at in 0..COUNT {
            assert_eq!(places.available_permits(), 0);
            assert_eq!(body.size_hint().exact(), Some((whole.len() - written.len()) as u64));
            let Poll::Ready(Some(chunk)) = poll(&mut body) else { panic!("chunk {at}") };
            written.extend_from_slice(&chunk);
            drop(chunk);
            assert_eq!(Arc::strong_count(&live) - 1, COUNT - 1 - at);
        }
        assert_eq!(places.available_permits(), 1);
        assert!(body.is_end_stream() && poll(&mut body) == Poll::Ready(None));
        assert_eq!(written, whole);
        assert!(Body::new(Vec::new()).is_end_stream());
        drop(Body::new(vec![Bytes::from_static(b"x")]).holding(place()));
        assert_eq!(places.available_permits(), 1, "the client has gone");
    }

    #[test]
    fn compressed_chunks_are_freed_one_by_one() {
        let (chunks, live) = chunks();
        let whole = chunks.concat();
        let mut body = Body::new(chunks).gzip();
        assert_eq!(body.size_hint().exact(), None);
        let (mut written, mut yields) = (Vec::new(), 0);
        loop {
            let before = Arc::strong_count(&live);
            let polled = poll(&mut body);
            assert!(before - Arc::strong_count(&live) <= 1);
            match polled {
                Poll::Pending => yields += 1,
                Poll::Ready(Some(frame)) => written.extend_from_slice(&frame),
                Poll::Ready(None) => break,
            }
        }
        assert!(body.is_end_stream());
        assert_eq!((yields, Arc::strong_count(&live)), (COUNT, 1));
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(&*written).read_to_end(&mut plain).unwrap();
        assert!(plain == whole);
    }
}
