//! Tells whoever waits for a model what is going on.

use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Receives progress. Called several times a second while something is under way.
pub trait Progress: Send {
    /// Takes the state of the current activity.
    fn report(&mut self, update: &Update<'_>);
}

/// Where an installation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update<'a> {
    /// What is being done.
    pub activity: Activity<'a>,
    /// The bytes that are done.
    pub bytes: u64,
    /// The bytes in all, where they are known.
    pub bytes_total: Option<u64>,
}

/// A step of an installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity<'a> {
    /// Another process installs the same model.
    Waiting,
    /// Bytes come from this source.
    Fetching(&'a str),
    /// A downloaded package is unpacked.
    Unpacking,
    /// The digest of the weights is computed.
    Verifying,
    /// The model is in place.
    Done,
}

impl fmt::Display for Activity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Waiting => f.write_str("waiting for another process that installs it"),
            Self::Fetching(source) => write!(f, "fetching {source}"),
            Self::Unpacking => f.write_str("unpacking"),
            Self::Verifying => f.write_str("verifying"),
            Self::Done => f.write_str("done"),
        }
    }
}

/// Reports nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn report(&mut self, _: &Update<'_>) {}
}

/// Draws a bar or a spinner on standard error, if that is a terminal.
#[derive(Debug)]
pub struct TerminalProgress {
    name: String,
    bar: ProgressBar,
}

impl TerminalProgress {
    /// A display that begins with `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(Duration::from_millis(120));
        Self {
            name: name.to_owned(),
            bar,
        }
    }
}

impl Progress for TerminalProgress {
    fn report(&mut self, update: &Update<'_>) {
        if update.activity == Activity::Done {
            self.bar.finish_and_clear();
            return;
        }
        let template = match update.bytes_total {
            Some(_) => "{spinner} {msg} [{bar:24}] {bytes}/{total_bytes} {elapsed}",
            None => "{spinner} {msg} {bytes} {elapsed}",
        };
        let style = ProgressStyle::with_template(template).expect("the two templates are well formed");
        self.bar.set_style(style);
        self.bar
            .set_message(format!("{}: {}", self.name, update.activity));
        if let Some(total) = update.bytes_total {
            self.bar.set_length(total);
        }
        self.bar.set_position(update.bytes);
    }
}
