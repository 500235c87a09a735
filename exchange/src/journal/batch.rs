//! Commands that are made durable together.

use domain::Sequence;
use matcher::Stamped;

/// The largest encoded command. The largest that is legal, a table of 64 regions, is a fifth of it.
pub const PAYLOAD_BYTES_MAX: usize = 64 * 1_024;

/// A batch takes no more commands once it is this large: what a disk writes about as fast as nothing at all.
pub const BATCH_BYTES_MAX: usize = 1024 * 1_024;

/// A command that no record holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a command is at most {PAYLOAD_BYTES_MAX} bytes, this one is larger")]
pub struct TooLarge;

/// Consecutive commands, encoded.
#[derive(Debug, Default)]
pub struct Batch {
    first: Option<Sequence>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    /// Adds the next command.
    ///
    /// # Errors
    /// When it is larger than [`PAYLOAD_BYTES_MAX`]; the batch is as it was.
    ///
    /// # Panics
    /// When it is not the next one.
    pub fn push(&mut self, stamped: &Stamped) -> Result<(), TooLarge> {
        self.assert_next(stamped.sequence);
        let start = self.bytes.len();
        postcard::to_io(stamped, &mut self.bytes).expect("a command is plain data, and a vector takes it");
        if self.bytes.len() - start > PAYLOAD_BYTES_MAX {
            self.bytes.truncate(start);
            return Err(TooLarge);
        }
        self.ends.push(self.bytes.len());
        self.first.get_or_insert(stamped.sequence);
        Ok(())
    }

    /// The first command's sequence, or `None` when there is none.
    #[must_use]
    pub fn first(&self) -> Option<Sequence> {
        self.first
    }

    /// How many commands there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether it should take no more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES_MAX
    }

    /// Forgets the commands and keeps the memory.
    pub fn clear(&mut self) {
        self.first = None;
        self.bytes.clear();
        self.ends.clear();
    }

    /// The encoded commands, in order.
    pub(super) fn payloads(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let payload = &self.bytes[start..*end];
            start = *end;
            payload
        })
    }

    fn assert_next(&self, sequence: Sequence) {
        let count = u64::try_from(self.ends.len()).expect("a batch is small");
        if let Some(first) = self.first {
            let next = Sequence::new(first.get() + count);
            assert_eq!(sequence, next, "a batch holds consecutive commands");
        }
    }
}
