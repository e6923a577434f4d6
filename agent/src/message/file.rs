//! What is done with files. Paths are bytes; relative ones are below the container's working directory.

use minicbor::{Decode, Encode, bytes::ByteVec};

/// A call.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Action {
    /// Send the content of a file as output.
    #[n(0)]
    Read {
        /// Which.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// From here.
        #[n(1)]
        offset: u64,
        /// So many bytes; unset: to its end.
        #[n(2)]
        length: Option<u64>,
    },
    /// Replace a file by the input, all of it or not at all. Directories that are missing are made.
    #[n(1)]
    Write {
        /// Which.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// Its mode; unset: that of the file that is there, or 0644.
        #[n(1)]
        mode: Option<u32>,
    },
    /// Add the input to the end of a file, which is made where it is missing.
    #[n(2)]
    Append {
        /// Which.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
    },
    /// What is there?
    #[n(3)]
    Stat {
        /// Where.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// Whether a link at the end of the path is followed.
        #[n(1)]
        follow: bool,
    },
    /// Send what is in a directory as output: an [`Entry`] a frame, as [`frame::encode`](crate::frame::encode) makes them. Links
    /// are not followed.
    #[n(4)]
    List {
        /// Which.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// How many levels: 1 is the directory itself; unset: all.
        #[n(1)]
        depth: Option<u32>,
    },
    /// Make a directory, and those above it. One that is there is left as it is.
    #[n(5)]
    MakeDirectory {
        /// Which.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// Its mode; unset: 0755.
        #[n(1)]
        mode: Option<u32>,
    },
    /// Remove a file, a link or a directory.
    #[n(6)]
    Remove {
        /// Which.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// With all that is in it; otherwise a directory must be empty.
        #[n(1)]
        recursive: bool,
    },
    /// Give a file another name; one that has it is replaced.
    #[n(7)]
    Rename {
        /// The old one.
        #[cbor(n(0), with = "minicbor::bytes")]
        from: Vec<u8>,
        /// The new one.
        #[cbor(n(1), with = "minicbor::bytes")]
        to: Vec<u8>,
    },
    /// Change the mode.
    #[n(8)]
    ChangeMode {
        /// Of which file.
        #[cbor(n(0), with = "minicbor::bytes")]
        path: Vec<u8>,
        /// The mode.
        #[n(1)]
        mode: u32,
    },
    /// Send a tree as output: a tar archive with links and modes. Sockets and devices are left out.
    #[n(9)]
    Pack {
        /// Of this directory; names in the archive are relative to it.
        #[cbor(n(0), with = "minicbor::bytes")]
        directory: Vec<u8>,
        /// Only what has these names in it; none: all.
        #[n(1)]
        names: Vec<ByteVec>,
    },
    /// Unpack the input, a tar archive. Files that are in the way are replaced; nothing outside of the directory is touched.
    #[n(10)]
    Unpack {
        /// Into this directory, which is made where it is missing.
        #[cbor(n(0), with = "minicbor::bytes")]
        directory: Vec<u8>,
    },
}

impl Action {
    /// Whether its paths are the same wherever it is done.
    pub fn is_absolute(&self) -> bool {
        let is_absolute = |path: &[u8]| path.first() == Some(&b'/');
        match self {
            Self::Read { path, .. }
            | Self::Write { path, .. }
            | Self::Append { path }
            | Self::Stat { path, .. }
            | Self::List { path, .. }
            | Self::MakeDirectory { path, .. }
            | Self::Remove { path, .. }
            | Self::ChangeMode { path, .. } => is_absolute(path),
            Self::Rename { from, to } => is_absolute(from) && is_absolute(to),
            Self::Pack { directory, .. } | Self::Unpack { directory } => is_absolute(directory),
        }
    }
}

/// What a call that succeeded has found.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Success {
    /// So many bytes of content, or entries, went either way.
    #[n(0)]
    Count(#[n(0)] u64),
    /// This is there.
    #[n(1)]
    Entry(#[n(0)] Entry),
}

/// What is under a name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// The name: in a list, relative to the directory.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub path: Vec<u8>,
    /// What it is.
    #[n(1)]
    pub kind: Kind,
    /// How many bytes it has.
    #[n(2)]
    pub size: u64,
    /// Its mode, without its kind.
    #[n(3)]
    pub mode: u32,
    /// Whose it is.
    #[n(4)]
    pub uid: u32,
    /// Whose group it is of.
    #[n(5)]
    pub gid: u32,
    /// When its content was changed last, in seconds since 1970.
    #[n(6)]
    pub modified: i64,
    /// Nanoseconds more.
    #[n(7)]
    pub modified_ns: u32,
    /// Where a link leads.
    #[n(8)]
    pub target: Option<ByteVec>,
}

/// What a file can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// A plain file.
    #[n(0)]
    File,
    /// A directory.
    #[n(1)]
    Directory,
    /// A symbolic link.
    #[n(2)]
    Link,
    /// A named pipe.
    #[n(3)]
    Pipe,
    /// A socket.
    #[n(4)]
    Socket,
    /// A device.
    #[n(5)]
    Device,
}
