//! Writes a checkpoint's tokenizer and chat template as files of their own.
//!
//! The exchange tokenises and must not need an inference library, so what a GGUF file says about
//! its vocabulary becomes a `tokenizer.json`. Only byte-level BPE with a known splitting rule is
//! written: with another rule the ids would differ from those that the model was trained on, and
//! its answers would be worse without a word.

use serde_json::json;
use tokenizers::Tokenizer;

use runner::gguf::{Header, HeaderError};

/// The token types of GGUF that mark a control token and one that a user added.
const CONTROL: i64 = 3;
const USER_DEFINED: i64 = 4;

/// A text that no rule of a byte-level tokenizer may change.
const SAMPLE: &str = "Hello world, 1234 times!\n\tna\u{ef}ve \u{1f30a} \u{4f60}\u{597d}  end ";

/// Why no tokenizer could be written.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The header lacks something.
    #[error("the weights file describes no tokenizer")]
    Header(#[from] HeaderError),
    /// It is of a kind that is not written.
    #[error("tokenizers of the kind {kind:?} are not supported")]
    Unsupported {
        /// Model and splitting rule.
        kind: String,
    },
    /// The vocabulary is damaged.
    #[error("the vocabulary is malformed: {reason}")]
    Malformed {
        /// What was found.
        reason: String,
    },
}

/// The files that describe a vocabulary.
#[derive(Debug)]
pub(super) struct TokenizerFiles {
    /// `tokenizer.json`.
    pub(super) tokenizer: String,
    /// `chat_template.jinja`.
    pub(super) chat_template: String,
    /// `special_tokens.json`: the text of every token that stands for itself, by id.
    pub(super) special_tokens: String,
}

/// Derives the files from a checkpoint's header, and checks that they work.
pub(super) fn derive(header: &Header) -> Result<TokenizerFiles, TokenizerError> {
    let tokens = header.texts("tokenizer.ggml.tokens")?;
    let specials = specials(header, &tokens)?;
    let tokenizer = tokenizer_json(header, &tokens, &specials)?;
    check(&tokenizer, &tokens, &specials)?;
    let special_tokens: serde_json::Map<_, _> = specials
        .iter()
        .map(|(id, text)| (id.to_string(), json!(text)))
        .collect();
    Ok(TokenizerFiles {
        tokenizer,
        chat_template: header.text("tokenizer.chat_template")?.to_owned(),
        special_tokens: serde_json::Value::Object(special_tokens).to_string(),
    })
}

fn malformed(reason: impl Into<String>) -> TokenizerError {
    TokenizerError::Malformed {
        reason: reason.into(),
    }
}

/// Ids and texts of the tokens that are found in a text before anything is split.
fn specials<'a>(header: &Header, tokens: &[&'a str]) -> Result<Vec<(u32, &'a str)>, TokenizerError> {
    let kinds = header.numbers("tokenizer.ggml.token_type")?;
    if kinds.len() != tokens.len() {
        return Err(malformed("there are not as many token types as tokens"));
    }
    let all = (0..).zip(kinds.iter().zip(tokens));
    Ok(all
        .filter(|(_, (kind, _))| [CONTROL, USER_DEFINED].contains(kind))
        .map(|(id, (_, text))| (id, *text))
        .collect())
}

fn tokenizer_json(
    header: &Header,
    tokens: &[&str],
    specials: &[(u32, &str)],
) -> Result<String, TokenizerError> {
    let model = header.text("tokenizer.ggml.model")?;
    let rule = header.text("tokenizer.ggml.pre")?;
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let pre_tokenizer = match (model, rule) {
        ("gpt2", "gpt-2" | "gpt2") => byte_level,
        ("gpt2", "smollm") => json!({
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": true}, byte_level],
        }),
        _ => {
            let kind = format!("{model}/{rule}");
            return Err(TokenizerError::Unsupported { kind });
        }
    };
    let merges: Option<Vec<_>> = header
        .texts("tokenizer.ggml.merges")?
        .into_iter()
        .map(|merge| merge.split_once(' ').map(|(left, right)| json!([left, right])))
        .collect();
    let merges = merges.ok_or_else(|| malformed("a merge is not a pair"))?;
    let vocabulary: serde_json::Map<_, _> = (0_u32..)
        .zip(tokens)
        .map(|(id, text)| ((*text).to_owned(), json!(id)))
        .collect();
    if vocabulary.len() != tokens.len() {
        return Err(malformed("two tokens have the same text"));
    }
    let added_tokens: Vec<_> = specials
        .iter()
        .map(|(id, text)| {
            json!({
                "id": id, "content": text, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true,
            })
        })
        .collect();
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": null,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": null,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true,
        },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null,
            "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges,
        },
    });
    Ok(tokenizer.to_string())
}

/// Loads what was written, as the exchange will, and tries it.
fn check(json: &str, tokens: &[&str], specials: &[(u32, &str)]) -> Result<(), TokenizerError> {
    let failed = |error: tokenizers::Error| malformed(error.to_string());
    let tokenizer = Tokenizer::from_bytes(json).map_err(failed)?;
    if tokenizer.get_vocab_size(true) != tokens.len() {
        return Err(malformed("the tokenizer has another size than the vocabulary"));
    }
    for (id, text) in specials {
        let encoded = tokenizer.encode(*text, false).map_err(failed)?;
        if encoded.get_ids() != [*id] {
            return Err(malformed(format!("{text:?} is not encoded as {id}")));
        }
    }
    let encoded = tokenizer.encode(SAMPLE, false).map_err(failed)?;
    let decoded = tokenizer.decode(encoded.get_ids(), false).map_err(failed)?;
    if decoded != SAMPLE {
        return Err(malformed(format!("a text came back as {decoded:?}")));
    }
    Ok(())
}
