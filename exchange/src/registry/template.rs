//! Chat templates: conversations to the text that a model was trained on.
//!
//! Templates come with models, so they are run on a leash: fuel by the number of messages, a bounded depth, a bounded
//! output, no access to anything but the conversation. There is no clock either (`strftime_now` is undefined, and
//! templates fall back to a fixed date): the same conversation is the same prompt on every day.
//!
//! What the leash does not bound is memory inside one expression: a template that doubles a string forty times runs
//! out of memory before it runs out of fuel. Models are installed by the operator, who is trusted that far.

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::specials::MARK;
use super::{PromptError, Specials};

/// The largest template that is read.
pub(super) const TEMPLATE_BYTES_MAX: u64 = 64 * 1_024;
/// Instructions that any template may run, and as many again for each message. Known templates take some hundreds.
const FUEL: u64 = 20_000;
/// Nested macros and includes.
const RECURSION_MAX: usize = 64;
/// What a template may write beyond the messages themselves, for each of them.
const OVERHEAD_BYTES_MAX: usize = 16 * 1_024;

const NAME: &str = "chat_template";

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

impl Role {
    /// The word that templates know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    /// Who says it.
    pub role: Role,
    /// What.
    pub content: String,
}

/// The control tokens that templates name by variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct NamedTokens {
    pub(super) bos: Option<String>,
    pub(super) eos: Option<String>,
}

/// A model's chat template.
#[derive(Debug)]
pub(super) struct ChatTemplate {
    environment: Environment<'static>,
    named: NamedTokens,
}

/// What a template said by `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

impl ChatTemplate {
    pub(super) fn parse(source: String, named: NamedTokens) -> Result<Self, String> {
        if source.contains(MARK) {
            return Err("it contains U+FDD0".to_owned());
        }
        let mut environment = Environment::new();
        // Templates are written for a renderer with these two settings.
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| describe(&error))?);
        environment.set_recursion_limit(RECURSION_MAX);
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message.clone()).with_source(Raised(message)))
        });
        environment
            .add_template_owned(NAME, source)
            .map_err(|error| describe(&error))?;
        Ok(Self { environment, named })
    }

    /// The text of a conversation, users' parts disarmed.
    pub(super) fn render(
        &self,
        messages: &[ChatMessage],
        specials: &Specials,
    ) -> Result<String, PromptError> {
        let broken = |error: &Error| PromptError::Broken {
            message: describe(error),
        };
        let count = u64::try_from(messages.len()).unwrap_or(u64::MAX);
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        // Marks lengthen a text, threefold at worst; a template may write a message twice.
        let bytes_max = bytes
            .saturating_mul(8)
            .saturating_add(OVERHEAD_BYTES_MAX.saturating_mul(messages.len().saturating_add(1)));
        let turns: Vec<Value> = messages
            .iter()
            .map(|message| {
                context! { role => message.role.name(), content => specials.disarm(&message.content) }
            })
            .collect();
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL.saturating_mul(count.saturating_add(1))));
        let template = environment.get_template(NAME).map_err(|error| broken(&error))?;
        let mut output = Bounded {
            bytes: Vec::with_capacity(bytes.saturating_add(1_024)),
            bytes_max,
        };
        let rendered = template.render_captured_to(
            context! {
                messages => turns,
                add_generation_prompt => true,
                bos_token => self.named.bos.as_deref().unwrap_or(""),
                eos_token => self.named.eos.as_deref().unwrap_or(""),
            },
            &mut output,
        );
        if let Err(error) = rendered {
            return Err(raised(&error).unwrap_or_else(|| broken(&error)));
        }
        String::from_utf8(output.bytes).map_err(|error| PromptError::Broken {
            message: error.to_string(),
        })
    }
}

/// What the template raised by itself, if that is what the error is.
fn raised(error: &Error) -> Option<PromptError> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(Raised(message)) = inner.downcast_ref() {
            return Some(PromptError::Refused {
                message: message.chars().take(300).collect(),
            });
        }
        source = inner.source();
    }
    None
}

fn describe(error: &Error) -> String {
    error.to_string().chars().take(300).collect()
}

/// Takes so much and no more.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        if self.bytes.len().saturating_add(buffer.len()) > self.bytes_max {
            return Err(io::Error::other("the template writes too much"));
        }
        self.bytes.extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
