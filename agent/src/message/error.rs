//! Why a live process or a file call failed.

use minicbor::{Decode, Encode};

/// The most bytes of a message that an agent sends.
pub const MESSAGE_MAX: usize = 1024;

/// A failure with its kind, for programs, and its message, for people.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Error {
    /// What kind of failure.
    #[n(0)]
    pub kind: Kind,
    /// What failed and why.
    #[n(1)]
    pub message: String,
    /// The number of the error of the system call that failed.
    #[n(2)]
    pub errno: Option<i32>,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    /// Any other error of the system.
    #[n(0)]
    Other,
    /// There is no such file or directory, or no such program.
    #[n(1)]
    NotFound,
    /// It is a directory.
    #[n(2)]
    IsDirectory,
    /// It is no directory, or something on the way is none.
    #[n(3)]
    NotDirectory,
    /// The user may not do that.
    #[n(4)]
    PermissionDenied,
    /// It exists already.
    #[n(5)]
    Exists,
    /// The volume is full.
    #[n(6)]
    NoSpace,
    /// The volume cannot be written to.
    #[n(7)]
    ReadOnly,
    /// The file, or the list of arguments, is too large.
    #[n(8)]
    TooLarge,
    /// The directory is not empty.
    #[n(9)]
    NotEmpty,
    /// The request makes no sense: an empty command, a path with a NUL, a signal that there is not.
    #[n(10)]
    Invalid,
    /// There is no such process or call here: it was never started, was forgotten, or the agent was ended meanwhile.
    #[n(11)]
    Unknown,
    /// The pod has as many processes as it can.
    #[n(12)]
    TooMany,
    /// There is no such user in the container.
    #[n(13)]
    NoSuchUser,
    /// The agent is not root, and can start nothing as another user.
    #[n(14)]
    CannotSwitchUser,
    /// There is no such working directory.
    #[n(15)]
    NoWorkingDirectory,
    /// It cannot be executed.
    #[n(16)]
    NotExecutable,
    /// The archive is malformed, or wants something outside of its directory or that is no file, directory or link.
    #[n(17)]
    BadArchive,
    /// The call was given up before it was complete: its stream broke, or the client asked for it.
    #[n(18)]
    Aborted,
    /// The agent's process that did it was ended.
    #[n(19)]
    Lost,
}

impl Error {
    /// One that no system call gave.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), errno: None }
    }

    /// With a message that fits into a frame whatever it names.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.message.truncate(self.message.floor_char_boundary(MESSAGE_MAX));
        self
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
