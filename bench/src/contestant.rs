//! Who is compared.

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The bare writes.
    Floor,
    /// The operator, with a pool that asks for no mode.
    Operator,
    /// The operator, with a pool in Exec mode.
    Exec,
}

impl Who {
    /// Its name in tables, pools and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Operator => "operator",
            Self::Exec => "exec",
        }
    }
}
