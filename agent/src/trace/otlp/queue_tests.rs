use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::*;

fn trace(name: u8, spans: u32, bytes: usize) -> Encoded {
    Encoded { bytes: vec![name; bytes], spans }
}

fn queue(spans: u64, bytes: u64, batch_spans: u64) -> Queue {
    Queue::new(Limits { spans, bytes, batch_spans }, Arc::new(Stats::new(bytes)))
}

/// The names of a batch.
fn names(batch: &[Encoded]) -> Vec<u8> {
    batch.iter().map(|encoded| encoded.bytes[0]).collect()
}

fn dropped(queue: &Queue) -> u64 {
    queue.stats.read().spans_dropped[0].1
}

fn fill(queue: &Queue) -> u64 {
    queue.stats.read().queue_bytes
}

#[test]
fn the_oldest_give_way_for_want_of_bytes_or_of_spans() {
    for queue in [queue(100, 40, 100), queue(8, 1000, 100)] {
        for name in 1..=6 {
            assert!(queue.push(trace(name, 2, 10)));
        }
        assert_eq!((dropped(&queue), fill(&queue)), (4, 40));
        assert_eq!(names(&queue.take()), [3, 4, 5, 6]);
    }
}

#[test]
fn what_can_find_no_room_takes_it_from_nobody() {
    let queue = queue(8, 40, 100);
    assert!(queue.push(trace(1, 1, 10)));
    assert!(!queue.push(trace(2, 3, 41)));
    assert!(!queue.push(trace(3, 9, 10)));
    assert_eq!(dropped(&queue), 12);
    let sent = queue.take();
    assert!(queue.push(trace(4, 1, 30)), "beside what is being sent");
    assert!(!queue.push(trace(5, 1, 31)), "nor from what is being sent");
    assert_eq!((dropped(&queue), fill(&queue)), (13, 40));
    queue.done(&sent);
    assert_eq!(fill(&queue), 30);
    assert!(queue.push(trace(6, 1, 40)));
    assert_eq!((names(&queue.take()), dropped(&queue)), (vec![6], 14));
}

#[test]
fn a_batch_that_was_not_sent_is_the_first_again_and_the_first_to_give_way() {
    let queue = queue(100, 50, 4);
    for name in 1..=5 {
        queue.push(trace(name, 2, 10));
    }
    let batch = queue.take();
    assert_eq!(names(&batch), [1, 2]);
    queue.put_back(batch);
    assert_eq!(fill(&queue), 50);
    queue.push(trace(6, 2, 10));
    assert_eq!(dropped(&queue), 2);
    let batch = queue.take();
    assert_eq!(names(&batch), [2, 3]);
    queue.done(&batch);
    assert_eq!(names(&queue.take()), [4, 5]);
    assert_eq!(names(&queue.take()), [6]);
    assert_eq!(queue.take(), []);
}

#[test]
fn a_batch_is_bounded_but_never_empty() {
    let queue = queue(1 << 20, 16 << 20, 4);
    queue.push(trace(1, 5, 1));
    queue.push(trace(2, 1, (BATCH_BYTES as usize) + 1));
    queue.push(trace(3, 1, BATCH_BYTES as usize));
    queue.push(trace(4, 0, 1));
    let batches: Vec<_> = (0..4).map(|_| names(&queue.take())).collect();
    assert_eq!(batches, [[1], [2], [3], [4]]);
}

#[test]
fn a_closed_queue_takes_nothing_and_counts_what_it_loses() {
    let queue = queue(100, 100, 4);
    queue.push(trace(1, 3, 10));
    queue.push(trace(2, 4, 10));
    let sent = queue.take();
    queue.close();
    assert!(!queue.push(trace(3, 5, 10)));
    assert_eq!(queue.stats.read().spans_dropped[3], ("shutdown", 9));
    assert_eq!(fill(&queue), 10);
    queue.done(&sent);
    assert_eq!((fill(&queue), queue.take().len(), dropped(&queue)), (0, 0, 0));
}

#[tokio::test]
async fn waiting_ends_when_there_is_enough() {
    let queue = Arc::new(queue(100, 1000, 4));
    let waits = |is_full: bool| {
        let queue = Arc::clone(&queue);
        async move {
            let wait = Duration::from_millis(20);
            match is_full {
                true => timeout(wait, queue.full()).await.is_err(),
                false => timeout(wait, queue.some()).await.is_err(),
            }
        }
    };
    assert!(waits(false).await && waits(true).await);
    queue.push(trace(1, 3, 10));
    assert!(!waits(false).await && waits(true).await);
    queue.push(trace(2, 1, 10));
    assert!(!waits(false).await && !waits(true).await);
    queue.put_back(queue.take());
    assert!(!waits(false).await && !waits(true).await);
    queue.done(&queue.take());
    assert!(waits(false).await && waits(true).await, "an old notice means nothing");
    let late = Arc::clone(&queue);
    let pushing = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        late.push(trace(3, 4, 10));
    });
    timeout(Duration::from_secs(10), async { tokio::join!(queue.some(), queue.full()) })
        .await
        .unwrap();
    pushing.await.unwrap();
}

#[test]
fn a_push_never_waits_for_the_exporter() {
    let queue = queue(1 << 14, 4 << 20, 512);
    let start = Instant::now();
    for _ in 0..100_000 {
        assert!(queue.push(trace(1, 8, 3_000)));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(fill(&queue) <= 4 << 20);
    let kept = queue.state().waiting.len() as u64;
    assert_eq!(dropped(&queue), (100_000 - kept) * 8);
}
