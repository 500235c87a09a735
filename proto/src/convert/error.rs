//! What is wrong with a message, and where.

/// A field that does not convert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The path of the field, such as `terms.limit`.
    pub field: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// The outcome of a conversion.
pub type FieldResult<T> = Result<T, FieldError>;

impl FieldError {
    /// The field at `field` has `problem`.
    pub fn new(field: impl Into<String>, problem: impl std::fmt::Display) -> Self {
        Self {
            field: field.into(),
            problem: problem.to_string(),
        }
    }

    /// The same, seen from the message that holds this one in `outer`.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.field = format!("{outer}.{}", self.field);
        self
    }
}
