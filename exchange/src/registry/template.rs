//! Chat templates: conversations to the text that a model was trained on.

/// Who says something in a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The consumer.
    User,
    /// The model.
    Assistant,
    /// A tool that the model called.
    Tool,
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who says it.
    pub role: Role,
    /// What.
    pub content: String,
}
