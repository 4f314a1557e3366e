use std::fs::File;
use std::os::unix::fs::FileExt as _;

use super::*;

/// Two windows.
const DATA_BYTES: usize = 2 * WINDOW_BYTES;

/// The kernel's side, in a file.
struct Kernel {
    file: File,
    page_bytes: usize,
    position: usize,
}

impl Kernel {
    fn new() -> (Self, RingMemory) {
        let page_bytes = usize::try_from(host::page_bytes()).unwrap();
        let file = tempfile::tempfile().unwrap();
        file.set_len((2 * page_bytes + DATA_BYTES) as u64).unwrap();
        let ring = RingMemory::map(file.try_clone().unwrap().into(), page_bytes, DATA_BYTES);
        (Self { file, page_bytes, position: 0 }, ring.unwrap())
    }

    fn write(&self, position: usize, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            let at = 2 * self.page_bytes + (position + n) % DATA_BYTES;
            self.file.write_all_at(&[*byte], at as u64).unwrap();
        }
    }

    /// Reserves room, and fills it. Returns where the header is.
    fn push(&mut self, record: &[u8], flags: u32) -> usize {
        let begin = self.position;
        self.write(begin + HEADER_BYTES, record);
        self.flag(begin, record.len(), flags);
        self.position += (HEADER_BYTES + record.len()).next_multiple_of(8);
        self.file.write_all_at(&self.position.to_ne_bytes(), self.page_bytes as u64).unwrap();
        begin
    }

    fn flag(&self, header: usize, length: usize, flags: u32) {
        self.write(header, &(length as u32 | flags).to_ne_bytes());
    }

    fn consumed(&self) -> usize {
        let mut word = [0; size_of::<usize>()];
        self.file.read_exact_at(&mut word, 0).unwrap();
        usize::from_ne_bytes(word)
    }
}

fn taken(ring: &mut RingMemory) -> Option<&[u8]> {
    ring.next().unwrap()
}

#[test]
fn records_come_in_order_and_their_room_is_free_again() {
    let (mut kernel, mut ring) = Kernel::new();
    assert_eq!(taken(&mut ring), None);
    kernel.push(b"first", 0);
    kernel.push(b"", 0);
    kernel.push(b"the third", 0);
    assert_eq!(taken(&mut ring), Some(&b"first"[..]));
    assert_eq!(kernel.consumed(), 16, "room is given back record by record");
    assert_eq!(taken(&mut ring), Some(&b""[..]));
    assert_eq!(taken(&mut ring), Some(&b"the third"[..]));
    assert_eq!(taken(&mut ring), None);
    assert_eq!(kernel.consumed(), kernel.position);
}

#[test]
fn what_is_being_written_is_waited_for_and_what_was_given_up_is_not() {
    let (mut kernel, mut ring) = Kernel::new();
    kernel.push(b"given up", DISCARDED);
    let busy = kernel.push(b"slow", BUSY);
    kernel.push(b"fast", 0);
    assert_eq!(taken(&mut ring), None, "records come in order");
    kernel.flag(busy, 4, 0);
    assert_eq!(taken(&mut ring), Some(&b"slow"[..]));
    assert_eq!(taken(&mut ring), Some(&b"fast"[..]));
    assert_eq!(taken(&mut ring), None);
}

#[test]
fn a_record_that_crosses_an_end_is_whole() {
    let (mut kernel, mut ring) = Kernel::new();
    let (mut crossed, mut wrapped) = (0, 0);
    for round in 0..10_000_usize {
        // Lengths that meet the end in all ways.
        let record: Vec<u8> = (0..round * 13 % 301).map(|n| (n + round) as u8).collect();
        let begin = kernel.push(&record, 0) % DATA_BYTES;
        let end = begin + HEADER_BYTES + record.len();
        crossed += usize::from(begin < WINDOW_BYTES && end > WINDOW_BYTES);
        wrapped += usize::from(end > DATA_BYTES);
        assert_eq!(taken(&mut ring), Some(&*record), "round {round}");
        assert_eq!(taken(&mut ring), None);
    }
    assert!(crossed > 3 && wrapped > 3, "{crossed} and {wrapped} crossed an end");
    assert_eq!(ring.window.bytes(), WINDOW_BYTES, "no more is mapped");
}

#[test]
fn a_ring_that_was_read_before_goes_on() {
    let (mut kernel, mut ring) = Kernel::new();
    kernel.push(b"read", 0);
    assert!(taken(&mut ring).is_some());
    let again = RingMemory::map(ring.descriptor().unwrap(), ring.page_bytes, DATA_BYTES);
    let mut again = again.unwrap();
    assert_eq!(taken(&mut again), None);
    kernel.push(b"new", 0);
    assert_eq!(taken(&mut again), Some(&b"new"[..]));
}

#[test]
fn no_length_is_trusted() {
    let (mut kernel, mut ring) = Kernel::new();
    let header = kernel.push(b"short", 0);
    kernel.flag(header, (DISCARDED - 1) as usize, 0);
    assert_eq!(taken(&mut ring).map(<[u8]>::len), Some(DATA_BYTES));
    let file = tempfile::tempfile().unwrap();
    assert!(RingMemory::map(file.into(), ring.page_bytes, 3 * ring.page_bytes).is_err());
}
