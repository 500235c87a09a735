//! How far an Island is trusted with its own earnings.

/// Whether an Island has shown enough: earnings of one on probation are held back longer, and its jobs are audited more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Trusted.
    #[default]
    Established,
    /// New, or fallen behind.
    Probation,
}

impl Standing {
    /// Every standing.
    pub const ALL: [Self; 2] = [Self::Established, Self::Probation];

    /// The word that statements and databases use. Never changes its meaning.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "established",
            Self::Probation => "probation",
        }
    }

    /// The standing with that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|standing| standing.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_as_they_were_written() {
        for standing in Standing::ALL {
            assert_eq!(Standing::from_name(standing.name()), Some(standing));
        }
        assert_eq!(Standing::from_name("trusted"), None);
    }
}
