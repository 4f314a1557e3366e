//! Mutations of inputs, the same at each run.

/// Generator of numbers: SplitMix64, by Sebastiano Vigna.
pub(super) struct Random(pub(super) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub(super) fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> Option<T> {
        all.get(self.below(all.len())).copied()
    }
}

/// Length limit of an input, in bytes.
const INPUT_MAX: usize = 8192;
/// Bytes that mean something in one of the formats.
const BYTES: &[u8] = b"\0\x01\x7f\x80\xff\n\r\t /\\\"'{}[]:,;=.*+-0159aezAZ_";
/// Numbers at the edge of something.
const WORDS: [u32; 9] = [0, 1, 64, 65, 0xffff, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];
/// Texts at the edge of something.
const TEXTS: [&str; 6] =
    ["18446744073709551615", "18446744073709551616", "-1", "null", "\u{1f980}", ";q=0.001"];

/// A seed, changed 1 to 8 times.
pub(super) fn mutation(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds.get(random.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=random.below(8) {
        change(random, &mut input, seeds);
    }
    input.truncate(INPUT_MAX);
    input
}

fn change(random: &mut Random, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = random.below(input.len());
    let end = (at + 1 + random.below(16)).min(input.len());
    let aligned = at & !3;
    match random.below(9) {
        0 => {
            let bit = 1 << random.below(8);
            if let Some(byte) = input.get_mut(at) {
                *byte ^= bit;
            }
        }
        1 => {
            let value = random.of(BYTES).unwrap_or_default();
            if let Some(byte) = input.get_mut(at) {
                *byte = value;
            }
        }
        2 => input.insert(at, random.of(BYTES).unwrap_or_default()),
        3 => drop(input.drain(at..end)),
        4 => input.truncate(at),
        5 => {
            let piece = input.get(at..end).unwrap_or_default().repeat(1 + random.below(64));
            input.splice(at..at, piece);
        }
        6 => {
            let word = random.of(&WORDS).unwrap_or_default().to_ne_bytes();
            if let Some(to) = input.get_mut(aligned..aligned + 4) {
                to.copy_from_slice(&word);
            }
        }
        7 => {
            let text = random.of(&TEXTS).unwrap_or_default();
            input.splice(at..at, text.bytes());
        }
        _ => {
            let other = seeds.get(random.below(seeds.len())).map_or(&[][..], Vec::as_slice);
            let from = random.below(other.len());
            input.truncate(at);
            input.extend(other.get(from..).unwrap_or_default());
        }
    }
}
