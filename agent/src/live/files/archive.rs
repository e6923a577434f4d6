//! The entries of a tar archive, one after the other. Whoever made it is not trusted.

use std::{
    io::{self, Read},
    path::Path,
};

use arl_agent::message::error::Error;
use nix::errno::Errno;

use super::{
    failure::failed,
    header::{BLOCK, EXTENDED, GLOBAL, Header, LABEL, LONG_LINK, LONG_NAME, NAME_MAX, malformed},
};

/// Deeper trees are refused, also to be packed: nobody could unpack them.
pub const DEPTH_MAX: usize = 256;

/// What a caller is told of an archive without an end.
pub fn truncated() -> Error {
    failed(Path::new("the archive ends before its end"), Errno::ECANCELED)
}

/// Whether these are the first bytes of something compressed: by gzip, bzip2, xz or zstd.
fn is_compressed(block: &[u8]) -> bool {
    [&b"\x1f\x8b"[..], b"BZh", b"\xfd7z", b"\x28\xb5\x2f\xfd"].iter().any(|begin| block.starts_with(begin))
}

/// The next entry, with what comes before it in blocks of their own. `is_first` says that there has been none.
pub fn next(input: &mut impl Read, is_first: bool) -> Result<Option<Header>, Error> {
    let (mut name, mut link, mut extended) = (None, None, None);
    loop {
        let mut block = [0; BLOCK];
        let read = match input.read(&mut block[..1]) {
            Ok(0) => return Ok(None),
            Ok(_) => input.read_exact(&mut block[1..]).map_err(|_| truncated()),
            Err(_) => return Err(truncated()),
        };
        let parsed = read.and_then(|()| Header::parse(&block));
        // Only then: the name of an entry may begin so too.
        if is_first && parsed.is_err() && is_compressed(&block) {
            return Err(malformed("the archive is compressed: decompress it first"));
        }
        let Some(mut header) = parsed? else { return Ok(None) };
        let before = match header.kind {
            LONG_NAME => &mut name,
            LONG_LINK => &mut link,
            EXTENDED => &mut extended,
            GLOBAL | LABEL => {
                skip(input, header.size.next_multiple_of(BLOCK as u64))?;
                continue;
            }
            _ => {
                header.name = name.map_or(header.name, without_nul);
                header.link = link.map_or(header.link, without_nul);
                extended.map_or(Ok(()), |records: Vec<u8>| header.extend(&records))?;
                return Ok(Some(header));
            }
        };
        if header.size > NAME_MAX {
            return Err(malformed(format!("a name in the archive has {} bytes", header.size)));
        }
        let mut bytes = Vec::new();
        input.by_ref().take(header.size).read_to_end(&mut bytes).map_err(|_| truncated())?;
        skip(input, header.size.next_multiple_of(BLOCK as u64) - header.size)?;
        *before = Some(bytes);
    }
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()));
    bytes
}

/// Passes over so many bytes.
pub fn skip(input: &mut impl Read, count: u64) -> Result<(), Error> {
    let skipped = io::copy(&mut input.take(count), &mut io::sink()).map_err(|_| truncated())?;
    if skipped == count { Ok(()) } else { Err(truncated()) }
}

/// The parts of a name, none of which leads out of the directory.
pub fn parts(name: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let shown = || String::from_utf8_lossy(&name[..name.len().min(200)]).into_owned();
    let parts: Vec<&[u8]> = name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    if name.starts_with(b"/") || parts.contains(&&b".."[..]) || name.contains(&0) {
        return Err(malformed(format!("the archive wants to write outside of the directory: {}", shown())));
    }
    if parts.len() > DEPTH_MAX {
        return Err(malformed(format!("the archive is deeper than {DEPTH_MAX} directories: {}", shown())));
    }
    Ok(parts)
}
