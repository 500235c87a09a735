//! The whole-state check.

/// An invariant that does not hold: a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{invariant}: {found}")]
pub struct AuditError {
    /// What should hold.
    pub invariant: &'static str,
    /// What does not.
    pub found: String,
}
