//! Who is compared.

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The bare writes.
    Floor,
    /// The bare stream of an exec.
    Bare,
    /// The operator, with a pool that asks for no mode.
    Operator,
    /// The operator, with a pool that keeps streams to its idle pods.
    Connected,
    /// The operator, with a pool in Exec mode.
    Exec,
    /// The client library, over the stream of a live session.
    Live,
    /// A Task in the same Sandbox.
    Task,
    /// A process of kubectl for each.
    Kubectl,
    /// A process of `kubectl arl` for each.
    Cli,
}

impl Who {
    /// All, in the order of tables: floors are first.
    pub const ALL: [Self; 9] = [
        Self::Floor,
        Self::Bare,
        Self::Operator,
        Self::Connected,
        Self::Exec,
        Self::Live,
        Self::Task,
        Self::Kubectl,
        Self::Cli,
    ];

    /// Whether the others are divided by it.
    pub fn is_floor(self) -> bool {
        matches!(self, Self::Floor | Self::Bare)
    }

    /// Its name in pools and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Bare => "bare",
            Self::Operator => "operator",
            Self::Connected => "connected",
            Self::Exec => "exec",
            Self::Live => "live",
            Self::Task => "task",
            Self::Kubectl => "kubectl",
            Self::Cli => "cli",
        }
    }

    /// Its name in tables.
    pub fn title(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Bare => "bare stream",
            Self::Operator => "**operator**",
            Self::Connected => "`connect: Idle`",
            Self::Exec => "Exec mode",
            Self::Live => "**live session**",
            Self::Task => "Task",
            Self::Kubectl => "kubectl",
            Self::Cli => "`kubectl arl run`",
        }
    }
}

/// All of them, another one first each round, so that none always has the machine as the same other left it.
pub fn in_turns<const N: usize>(mut all: [Who; N], round: usize) -> [Who; N] {
    all.rotate_left(round % N);
    all
}
