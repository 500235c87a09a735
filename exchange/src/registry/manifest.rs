//! What the exchange needs of an installed model's manifest.

/// A manifest that was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the manifest has mistakes: {}", mistakes.join("; "))]
pub struct ManifestError {
    /// Every mistake that was found.
    pub mistakes: Vec<String>,
}
