//! Headers of tar archives: what GNU tar writes, and what it and others do (POSIX.1-2001 pax) is read.

use arl_agent::message::error::{Error, Kind};

/// Everything in an archive comes in blocks of this size.
pub const BLOCK: usize = 512;
/// The longest name, or extended header, that is read.
pub const NAME_MAX: u64 = 64 * 1024;

pub const FILE: u8 = b'0';
pub const HARD_LINK: u8 = b'1';
pub const LINK: u8 = b'2';
pub const DIRECTORY: u8 = b'5';
/// The name of the next entry is longer than its header has room for.
pub const LONG_NAME: u8 = b'L';
/// So is where it leads.
pub const LONG_LINK: u8 = b'K';
/// Fields of the next entry, as pax has them.
pub const EXTENDED: u8 = b'x';
/// Fields of all that follow; of no use here.
pub const GLOBAL: u8 = b'g';
/// The name of the archive itself (`tar -V`); of no use either.
pub const LABEL: u8 = b'V';

const LONG: &[u8] = b"././@LongLink";

/// An entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    pub kind: u8,
    pub name: Vec<u8>,
    /// Where a link leads.
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u64,
    pub gid: u64,
    pub size: u64,
    pub modified: i64,
}

pub fn malformed(message: impl Into<String>) -> Error {
    Error::new(Kind::BadArchive, message)
}

impl Header {
    /// The blocks that begin an entry.
    pub fn encode(&self) -> Vec<u8> {
        let mut blocks = Vec::new();
        for (kind, text, room) in [(LONG_NAME, &self.name, 100), (LONG_LINK, &self.link, 100)] {
            if text.len() > room {
                let long = Self { kind, name: LONG.to_vec(), size: text.len() as u64 + 1, ..Self::default() };
                blocks.extend(long.block());
                blocks.extend(text);
                blocks.push(0);
                blocks.resize(blocks.len().next_multiple_of(BLOCK), 0);
            }
        }
        blocks.extend(self.block());
        blocks
    }

    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        let mut text = |at: usize, room: usize, bytes: &[u8]| {
            let bytes = &bytes[..bytes.len().min(room)];
            block[at..at + bytes.len()].copy_from_slice(bytes);
        };
        text(0, 100, &self.name);
        text(100, 8, &number(self.mode.into(), 8));
        text(108, 8, &number(self.uid, 8));
        text(116, 8, &number(self.gid, 8));
        text(124, 12, &number(self.size, 12));
        let mut modified = number(self.modified.cast_unsigned(), 12);
        if self.modified < 0 {
            // Its eight bytes are there: all before them have the sign.
            modified[..4].fill(0xff);
        }
        text(136, 12, &modified);
        text(148, 8, b"        ");
        text(156, 1, &[self.kind]);
        text(157, 100, &self.link);
        text(257, 8, b"ustar  \0");
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(&number(sum, 7));
        block
    }

    /// The entry that a block begins; none where it is empty, as the end of an archive is.
    pub fn parse(block: &[u8; BLOCK]) -> Result<Option<Self>, Error> {
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let field = |at: usize, length: usize| parse_number(&block[at..at + length]);
        let sum =
            block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u64::from(*byte) });
        if field(148, 8)? != sum.sum::<u64>() {
            return Err(malformed("what was sent is no tar archive: a checksum is wrong"));
        }
        let text = |at: usize, length: usize| {
            let bytes = &block[at..at + length];
            bytes[..bytes.iter().position(|byte| *byte == 0).unwrap_or(length)].to_vec()
        };
        let mut name = text(0, 100);
        // GNU tar has other things there.
        if &block[257..263] == b"ustar\0" {
            let prefix = text(345, 155);
            if !prefix.is_empty() {
                name = [&prefix[..], b"/", &name].concat();
            }
        }
        let kind = match block[156] {
            0 | b'7' if name.ends_with(b"/") => DIRECTORY,
            0 | b'7' => FILE,
            kind => kind,
        };
        Ok(Some(Self {
            kind,
            name,
            link: text(157, 100),
            mode: u32::try_from(field(100, 8)? & 0o7777).unwrap_or_default(),
            uid: field(108, 8)?,
            gid: field(116, 8)?,
            size: field(124, 12)?,
            modified: parse_time(&block[136..148])?,
        }))
    }

    /// Takes the fields of an extended header: lines of `<length> <key>=<value>`.
    pub fn extend(&mut self, mut records: &[u8]) -> Result<(), Error> {
        let bad = || malformed("an extended header of the archive is malformed");
        while !records.is_empty() {
            let space = records.iter().position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length = std::str::from_utf8(&records[..space]).ok().and_then(|text| text.parse::<usize>().ok());
            let length = length.filter(|length| *length > space + 1 && *length <= records.len()).ok_or_else(bad)?;
            let (record, rest) = records.split_at(length);
            let record = record[space + 1..].strip_suffix(b"\n").ok_or_else(bad)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let number =
                || std::str::from_utf8(value).ok().and_then(|text| text.split('.').next()?.parse::<i64>().ok());
            let unsigned = || number().and_then(|number| u64::try_from(number).ok()).ok_or_else(bad);
            match key {
                b"path" => self.name = value.to_vec(),
                b"linkpath" => self.link = value.to_vec(),
                b"size" => self.size = unsigned()?,
                b"uid" => self.uid = unsigned()?,
                b"gid" => self.gid = unsigned()?,
                b"mtime" => self.modified = number().ok_or_else(bad)?,
                _ if key.starts_with(b"GNU.sparse") => {
                    return Err(malformed("the archive has sparse files, which are not read"));
                }
                _ => {}
            }
            records = rest;
        }
        Ok(())
    }
}

/// Octal digits and a NUL; what is too large for them, as GNU tar has it.
fn number(value: u64, room: usize) -> Vec<u8> {
    let digits = format!("{value:0width$o}\0", width = room - 1).into_bytes();
    if digits.len() <= room {
        return digits;
    }
    let mut bytes = vec![0; room];
    let value = value.to_be_bytes();
    let kept = value.len().min(room - 1);
    bytes[room - kept..].copy_from_slice(&value[value.len() - kept..]);
    bytes[0] = 0x80;
    bytes
}

fn parse_number(field: &[u8]) -> Result<u64, Error> {
    let bad = || malformed("a number in a header of the archive is malformed");
    if field[0] & 0x80 != 0 {
        let mut value = u64::from(field[0] & 0x7f);
        for byte in &field[1..] {
            value = value.checked_mul(256).and_then(|value| value.checked_add((*byte).into())).ok_or_else(bad)?;
        }
        return Ok(value);
    }
    let mut value: u64 = 0;
    for byte in field.iter().skip_while(|byte| **byte == b' ').take_while(|byte| !matches!(byte, 0 | b' ')) {
        let digit = char::from(*byte).to_digit(8).ok_or_else(bad)?;
        value = value.checked_mul(8).and_then(|value| value.checked_add(digit.into())).ok_or_else(bad)?;
    }
    Ok(value)
}

/// The same, which may be before 1970: then it is in bytes, and the bit behind the one that says so is its sign. What is beyond all
/// times is the first or the last of them.
fn parse_time(field: &[u8]) -> Result<i64, Error> {
    if field[0] & 0x80 == 0 {
        return parse_number(field).map(|time| i64::try_from(time).unwrap_or(i64::MAX));
    }
    let first = i64::from((field[0] << 1).cast_signed() >> 1);
    Ok(field[1..].iter().fold(first, |time, byte| time.saturating_mul(256).saturating_add((*byte).into())))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    fn header() -> impl Strategy<Value = Header> {
        let name = vec(1..=255_u8, 1..101);
        let number = || prop_oneof![0..10_000_u64, 0..=u64::from(u32::MAX)];
        let size = prop_oneof![0..9_u64, any::<u64>()];
        let kind = prop::sample::select(vec![FILE, LINK, HARD_LINK, DIRECTORY]);
        (kind, name, vec(1..=255_u8, 0..101), 0..0o10000_u32, number(), number(), size, any::<i64>()).prop_map(
            |(kind, name, link, mode, uid, gid, size, modified)| Header {
                kind,
                name,
                link,
                mode,
                uid,
                gid,
                size,
                modified,
            },
        )
    }

    #[test]
    fn times_beyond_all_are_the_first_or_the_last() {
        let time = |first: u8, rest: u8| parse_time(&[&[first][..], &[rest; 11]].concat());
        assert_eq!((time(0xff, 0xff), time(0x80, 0)), (Ok(-1), Ok(0)));
        assert_eq!((time(0xbf, 0xff), time(0xc0, 0)), (Ok(i64::MAX), Ok(i64::MIN)));
        assert_eq!(parse_time(b"77777777777\0"), Ok(0o77_777_777_777));
    }

    proptest! {
        #[test]
        fn fuzz_headers_are_read_as_they_were_written(header in header()) {
            let blocks: [u8; BLOCK] = header.encode().try_into().unwrap();
            prop_assert_eq!(Header::parse(&blocks), Ok(Some(header)));
        }

        #[test]
        fn fuzz_long_names_come_before(name in vec(1..=255_u8, 101..2000)) {
            let header = Header { kind: FILE, name: name.clone(), ..Header::default() };
            let blocks = header.encode();
            prop_assert_eq!(blocks.len() % BLOCK, 0);
            let first = Header::parse(blocks.first_chunk().unwrap()).unwrap().unwrap();
            prop_assert_eq!((first.kind, first.size), (LONG_NAME, name.len() as u64 + 1));
            prop_assert_eq!(&blocks[BLOCK..BLOCK + name.len()], &name[..]);
        }

        /// Whatever arrives is an entry, an end or an error.
        #[test]
        fn fuzz_spoilt_headers(header in header(), edits in vec((any::<Index>(), any::<u8>()), 0..4), mends: bool) {
            let mut block: [u8; BLOCK] = header.block();
            for (at, byte) in edits {
                block[at.index(BLOCK)] = byte;
            }
            if mends {
                block[148..156].fill(b' ');
                let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
                block[148..155].copy_from_slice(&number(sum, 7));
            }
            if let Ok(Some(header)) = Header::parse(&block) {
                prop_assert!(header.mode <= 0o7777);
            }
        }

        #[test]
        fn fuzz_extended_headers(records in "([0-9]{1,3} (path|linkpath|size|mtime|GNU.sparse.x|other)=[a-z0-9./-]{0,9}\n){0,3}|.{0,40}", path in "[a-z/]{1,200}") {
            let _ = Header::default().extend(records.as_bytes());
            let body = format!("path={path}\n");
            let length = (body.len()..body.len() + 9).find(|n| n.to_string().len() + 1 + body.len() == *n);
            if let Some(length) = length {
                let mut header = Header::default();
                prop_assert_eq!(header.extend(format!("{length} {body}").as_bytes()), Ok(()));
                prop_assert_eq!(header.name, path.into_bytes());
            }
        }
    }
}
