//! JSON in a stream of bytes: where one value ends and the next begins, without holding more of
//! them than one.
//!
//! A list of Pods is one JSON object of any length, and a watch is a line for each event. Both are
//! cut into items here, each of which is parsed and dropped before the next is held.

/// Bytes that are held of an item over its limit: enough to tell whose it is, since Go writes
/// `metadata` first.
const HEAD_MAX: usize = 16 << 10;
/// Limit of a list's `metadata`, whose longest field is the token `continue`.
const METADATA_MAX: usize = 64 << 10;
/// Limit of a member's name that is looked at.
const KEY_MAX: usize = 64;

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Progress through one JSON value, which begins with the first byte taken.
#[derive(Debug, Default)]
struct Scan {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Takes bytes: how many of them belong to the value, and whether it has ended with them.
    fn take(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (index, byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return (index + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                // The end of what is around a number or a word.
                b'}' | b']' | b',' if self.depth == 0 => return (index, true),
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (index + 1, true);
                    }
                }
                byte if self.depth == 0 && is_space(*byte) => return (index, true),
                _ => {}
            }
        }
        (bytes.len(), false)
    }
}

/// The value of an object's member, as it stands there. The object may break off: then the last
/// value does.
pub(super) fn member<'a>(object: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let skip = |bytes: &'a [u8], also: u8| {
        let end = bytes.iter().position(|byte| !is_space(*byte) && *byte != also);
        bytes.split_at(end.unwrap_or(bytes.len())).1
    };
    let mut rest = skip(object, b' ').strip_prefix(b"{")?;
    loop {
        rest = skip(rest, b',');
        if rest.first() != Some(&b'"') {
            return None;
        }
        let (key, after) = rest.split_at(Scan::default().take(rest).0);
        let from = skip(after, b':');
        let (value, after) = from.split_at(Scan::default().take(from).0);
        if value.is_empty() {
            return None;
        }
        if key.strip_prefix(b"\"").and_then(|key| key.strip_suffix(b"\"")) == Some(name.as_bytes())
        {
            return Some(value);
        }
        rest = after;
    }
}

/// Bytes of one value, up to a limit.
#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    max: usize,
    over: bool,
}

impl Held {
    const fn new(max: usize) -> Self {
        Self { bytes: Vec::new(), max, over: false }
    }

    fn push(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        if self.bytes.len() + bytes.len() <= self.max {
            self.bytes.extend_from_slice(bytes);
            return;
        }
        self.over = true;
        self.bytes.truncate(HEAD_MAX);
        let room = HEAD_MAX.saturating_sub(self.bytes.len());
        self.bytes.extend_from_slice(bytes.split_at(room.min(bytes.len())).0);
        self.bytes.shrink_to_fit();
    }

    /// The value: `Err` with its beginning if it is over the limit.
    fn value(&self) -> Result<&[u8], &[u8]> {
        if self.over { Err(&self.bytes) } else { Ok(&self.bytes) }
    }

    /// Begins a new value.
    fn clear(&mut self) {
        self.bytes.clear();
        // One large item does not keep its room for all that follow.
        self.bytes.shrink_to(HEAD_MAX);
        self.over = false;
    }
}

/// Part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part<'a> {
    /// Item of the list.
    Item(&'a [u8]),
    /// Beginning of an item over the limit.
    TooLarge(&'a [u8]),
    /// Metadata of the list.
    Metadata(&'a [u8]),
}

/// Place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Begin,
    Member,
    Key,
    Colon,
    Value,
    Skipped,
    Metadata,
    NoItems,
    BetweenItems,
    Item,
    End,
}

/// Member of a list that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Items,
    Metadata,
    Other,
}

/// A list (`{"metadata": …, "items": […]}`) that is cut into its parts as its bytes come.
#[derive(Debug)]
pub(super) struct Items {
    at: At,
    scan: Scan,
    held: Held,
    item_max: usize,
    name: Name,
    found: bool,
}

/// The bytes are no list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoList;

impl Items {
    /// A list whose items are `item_max` bytes long at most.
    pub(super) const fn new(item_max: usize) -> Self {
        let scan = Scan { depth: 0, in_string: false, escaped: false };
        let held = Held::new(KEY_MAX);
        Self { at: At::Begin, scan, held, item_max, name: Name::Other, found: false }
    }

    /// Takes the next bytes, and hands on the parts that end in them.
    pub(super) fn take(
        &mut self,
        mut bytes: &[u8],
        part: &mut impl FnMut(Part<'_>),
    ) -> Result<(), NoList> {
        while let Some(byte) = bytes.first() {
            match self.at {
                At::Key | At::Skipped | At::Metadata | At::NoItems | At::Item => {
                    let (taken, ended) = self.scan.take(bytes);
                    let (taken, rest) = bytes.split_at(taken);
                    bytes = rest;
                    if self.at != At::Skipped {
                        self.held.push(taken);
                    }
                    if ended {
                        self.ended(part)?;
                    }
                }
                _ => {
                    if is_space(*byte) || self.step(*byte)? {
                        bytes = bytes.split_at(1).1;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether the list is complete.
    pub(super) fn finish(&self) -> Result<(), NoList> {
        if self.at == At::End && self.found { Ok(()) } else { Err(NoList) }
    }

    /// A step between values. Returns whether the byte is done with.
    fn step(&mut self, byte: u8) -> Result<bool, NoList> {
        match (self.at, byte) {
            (At::Begin, b'{') => self.at = At::Member,
            (At::Member, b'}') => self.at = At::End,
            (At::Member | At::BetweenItems, b',') => {}
            (At::Colon, b':') => self.at = At::Value,
            (At::BetweenItems, b']') => self.at = At::Member,
            (At::Value, b'[') if self.name == Name::Items => {
                self.found = true;
                self.at = At::BetweenItems;
            }
            (At::Member, b'"') => return Ok(self.begin(At::Key, KEY_MAX)),
            (At::Value | At::BetweenItems, b'}' | b']' | b',' | b':') => return Err(NoList),
            (At::BetweenItems, _) => return Ok(self.begin(At::Item, self.item_max)),
            (At::Value, _) => {
                return Ok(match self.name {
                    Name::Items => self.begin(At::NoItems, KEY_MAX),
                    Name::Metadata => self.begin(At::Metadata, METADATA_MAX),
                    Name::Other => self.begin(At::Skipped, 0),
                });
            }
            _ => return Err(NoList),
        }
        Ok(true)
    }

    /// Begins a value at a byte that belongs to it.
    fn begin(&mut self, at: At, max: usize) -> bool {
        self.at = at;
        self.scan = Scan::default();
        self.held.clear();
        self.held.max = max;
        false
    }

    fn ended(&mut self, part: &mut impl FnMut(Part<'_>)) -> Result<(), NoList> {
        let value = self.held.value();
        self.at = match (self.at, value) {
            (At::Key, key) => {
                self.name = match key {
                    Ok(b"\"items\"") => Name::Items,
                    Ok(b"\"metadata\"") => Name::Metadata,
                    _ => Name::Other,
                };
                At::Colon
            }
            (At::Item, item) => {
                part(item.map_or_else(Part::TooLarge, Part::Item));
                At::BetweenItems
            }
            (At::Metadata, Ok(metadata)) => {
                part(Part::Metadata(metadata));
                At::Member
            }
            // Go writes a list without items so.
            (At::NoItems, Ok(b"null")) => {
                self.found = true;
                At::Member
            }
            (At::Skipped, _) => At::Member,
            _ => return Err(NoList),
        };
        Ok(())
    }
}

/// Lines of a watch, as their bytes come.
#[derive(Debug)]
pub(super) struct Lines(Held);

impl Lines {
    /// Lines that are `max` bytes long at most.
    pub(super) const fn new(max: usize) -> Self {
        Self(Held::new(max))
    }

    /// Takes the next bytes, and hands on the lines that end in them: `Err` with its beginning for
    /// one over the limit.
    pub(super) fn take(&mut self, mut bytes: &[u8], mut line: impl FnMut(Result<&[u8], &[u8]>)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (last, rest) = bytes.split_at(end);
            self.0.push(last);
            if !self.0.bytes.is_empty() {
                line(self.0.value());
            }
            self.0.clear();
            bytes = rest.split_at(1).1;
        }
        self.0.push(bytes);
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
