//! Text to token ids and back: a model's `tokenizer.json`, byte-level BPE only.
//!
//! Byte-level means that every id stands for bytes of its own, whatever stands beside it: that is what makes it
//! possible to write text id by id, and to encode a prompt piece by piece between its control tokens.

use std::sync::Arc;

use tokenizers::{DecoderWrapper, Tokenizer};

use super::specials::{Segment, Specials, SpecialsError};

/// The largest `tokenizer.json` that is read.
pub(super) const TOKENIZER_BYTES_MAX: u64 = 64 * 1_024 * 1_024;
/// Ids beyond this are no vocabulary's: four times the largest known.
const VOCABULARY_MAX: u32 = 1 << 20;

/// How much of a text is tried first, for each token that may be: about what a token of plain English has.
const PROBE_BYTES_PER_TOKEN: usize = 4;

/// What became of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Encoded {
    /// Its ids.
    Fits(Vec<u32>),
    /// It has so many at least.
    TooLong(usize),
}

/// Why a tokenizer was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenizerError {
    #[error("it does not parse: {message}")]
    Malformed { message: String },
    #[error("it is not byte-level: its decoder must be ByteLevel")]
    NotByteLevel,
    #[error("it has no ids, or ids of {VOCABULARY_MAX} and more")]
    Vocabulary,
    #[error("its control token {text:?} swallows whitespace, which is not supported")]
    Strips { text: String },
    #[error(transparent)]
    Specials(#[from] SpecialsError),
}

/// The bytes of every id; empty for a control token, `None` for what is no id.
pub(super) type Vocabulary = Vec<Option<Box<[u8]>>>;

/// A model's tokenizer.
#[derive(Debug)]
pub(super) struct TextTokenizer {
    plain: Tokenizer,
    specials: Specials,
    vocabulary: Arc<Vocabulary>,
    longest: usize,
}

impl TextTokenizer {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TokenizerError> {
        let malformed = |error: tokenizers::Error| TokenizerError::Malformed {
            message: error.to_string(),
        };
        let mut plain = Tokenizer::from_bytes(bytes).map_err(malformed)?;
        plain.with_truncation(None).map_err(malformed)?;
        plain.with_padding(None);
        if !matches!(plain.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            return Err(TokenizerError::NotByteLevel);
        }
        let vocabulary = vocabulary(&plain)?;
        let added = plain.get_added_tokens_decoder();
        let mut specials: Vec<_> = added.iter().filter(|(_, token)| token.special).collect();
        specials.sort_unstable_by_key(|(id, _)| **id);
        if let Some((_, token)) = specials.iter().find(|(_, token)| token.lstrip || token.rstrip) {
            return Err(TokenizerError::Strips {
                text: token.content.clone(),
            });
        }
        let specials = Specials::new(
            specials
                .into_iter()
                .map(|(id, token)| (token.content.clone(), *id)),
        )?;
        // From here on, control tokens are text like any other to the tokenizer itself.
        plain.set_encode_special_tokens(true);
        let longest = vocabulary.iter().flatten().map(|bytes| bytes.len()).max();
        Ok(Self {
            plain,
            specials,
            vocabulary: Arc::new(vocabulary),
            longest: longest.unwrap_or(0).max(1),
        })
    }

    /// The ids of a rendered text whose users' parts were disarmed, or `Err` with a number of tokens that it has at
    /// least when that is more than `tokens_max`.
    pub(super) fn encode(&self, rendered: &str, tokens_max: usize) -> Result<Encoded, tokenizers::Error> {
        let mut ids = Vec::new();
        for segment in self.specials.split(rendered) {
            match segment {
                Segment::Special(id) => ids.push(id),
                Segment::Plain(text) => {
                    if let Some(tokens) = self.is_hopeless(&text, tokens_max)? {
                        return Ok(Encoded::TooLong(ids.len().saturating_add(tokens)));
                    }
                    ids.extend_from_slice(self.plain.encode_fast(text.as_ref(), false)?.get_ids());
                }
            }
            if ids.len() > tokens_max {
                return Ok(Encoded::TooLong(ids.len()));
            }
        }
        Ok(Encoded::Fits(ids))
    }

    /// Encodes beginnings of a long text until it is clear that the whole is too long, because some texts take the
    /// square of their length. Where a beginning ends, its last tokens may be others than those of the whole, so it
    /// must be too long twice over.
    fn is_hopeless(&self, text: &str, tokens_max: usize) -> Result<Option<usize>, tokenizers::Error> {
        let hopeless = tokens_max.saturating_mul(2);
        let mut end = tokens_max.saturating_mul(PROBE_BYTES_PER_TOKEN);
        while end < text.len() {
            let start = &text[..text.floor_char_boundary(end)];
            let tokens = self.plain.encode_fast(start, false)?.get_ids().len();
            if tokens > hopeless {
                return Ok(Some(tokens_max.saturating_add(1)));
            }
            end = end.saturating_mul(2);
        }
        Ok(None)
    }

    /// What the tokenizer by itself makes of a text without marks: the reference for [`Self::encode`].
    pub(super) fn encode_whole(&mut self, text: &str) -> Result<Vec<u32>, tokenizers::Error> {
        self.plain.set_encode_special_tokens(false);
        let encoded = self.plain.encode_fast(text, false);
        self.plain.set_encode_special_tokens(true);
        Ok(encoded?.get_ids().to_vec())
    }

    pub(super) fn specials(&self) -> &Specials {
        &self.specials
    }

    pub(super) fn vocabulary(&self) -> &Arc<Vocabulary> {
        &self.vocabulary
    }

    pub(super) fn is_token(&self, id: u32) -> bool {
        token_bytes(&self.vocabulary, id).is_some()
    }

    /// The text of an id, such as `<|im_end|>`.
    pub(super) fn text_of(&self, id: u32) -> Option<String> {
        self.plain.id_to_token(id)
    }

    /// Fewer tokens than this cannot hold so many bytes.
    pub(super) fn tokens_at_least(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.longest)
    }
}

/// The bytes of an id, or `None` if there is no such id.
pub(super) fn token_bytes(vocabulary: &Vocabulary, id: u32) -> Option<&[u8]> {
    vocabulary.get(usize::try_from(id).ok()?)?.as_deref()
}

fn vocabulary(tokenizer: &Tokenizer) -> Result<Vocabulary, TokenizerError> {
    let largest = tokenizer.get_vocab(true).into_values().max();
    let largest = largest
        .filter(|largest| *largest < VOCABULARY_MAX)
        .ok_or(TokenizerError::Vocabulary)?;
    let added = tokenizer.get_added_vocabulary();
    let bytes = |id| {
        let text = tokenizer.id_to_token(id)?;
        Some(if added.is_special_token(&text) {
            Box::default()
        } else {
            bytes_of(&text)
        })
    };
    Ok((0..=largest).map(bytes).collect())
}

/// The bytes that a token's letters stand for. A token with a letter outside the alphabet stands for its own text.
fn bytes_of(text: &str) -> Box<[u8]> {
    let bytes: Option<Vec<u8>> = text.chars().map(byte_of).collect();
    bytes.unwrap_or_else(|| text.as_bytes().to_vec()).into()
}

/// GPT-2's alphabet: printable Latin-1 stands for itself, the other bytes for letters from U+0100 in order.
fn byte_of(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match u8::try_from(code) {
        Ok(byte) => printable(byte).then_some(byte),
        Err(_) => {
            let index = usize::try_from(code.checked_sub(0x100)?).ok()?;
            (0..=u8::MAX).filter(|byte| !printable(*byte)).nth(index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_letter() {
        let mut bytes: Vec<u8> = ('\0'..='\u{200}').filter_map(byte_of).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=u8::MAX).collect::<Vec<_>>());
        assert_eq!(byte_of('Ġ'), Some(b' '));
        assert_eq!(byte_of('Ċ'), Some(b'\n'));
        assert_eq!(byte_of('字'), None);
    }

    #[test]
    fn what_is_no_byte_level_tokenizer_is_refused() {
        assert!(matches!(
            TextTokenizer::parse(b""),
            Err(TokenizerError::Malformed { .. })
        ));
        assert!(matches!(
            TextTokenizer::parse(b"{\"version\":\"1.0\"}"),
            Err(TokenizerError::Malformed { .. })
        ));
    }
}
