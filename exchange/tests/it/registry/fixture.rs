//! A tiny model to read: a byte-level vocabulary of 256 bytes and a few merges, and a chat template.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use exchange::registry::Registry;
use serde_json::json;
use tempfile::TempDir;

pub(crate) const MODEL: &str = "tiny-chat";

pub(crate) const END_OF_TEXT: u32 = 0;
pub(crate) const START: u32 = 1;
pub(crate) const END: u32 = 2;
/// An added token that is no control token.
pub(crate) const THINK: u32 = 3;
const FIRST_BYTE: u32 = 4;

/// Added tokens, and whether they control.
const ADDED: [(u32, &str, bool); 4] = [
    (END_OF_TEXT, "<|endoftext|>", true),
    (START, "<|im_start|>", true),
    (END, "<|im_end|>", true),
    (THINK, "<think>", false),
];

/// Pairs that become one token, each built from what stands before it. Some end in half a character: ` Ã` is a space
/// and the first byte of `é`.
const MERGES: [(&str, &str); 16] = [
    ("Ġ", "t"),
    ("h", "e"),
    ("Ġt", "he"),
    ("i", "n"),
    ("o", "n"),
    ("Ġ", "Ã"),
    ("©", "s"),
    ("ð", "Ł"),
    ("ĺ", "Ģ"),
    ("s", "t"),
    ("ċ", "Ċ"),
    ("Ċ", "Ċ"),
    ("Ġ", "Ġ"),
    ("ĠĠ", "ĠĠ"),
    ("ĠĠĠĠ", "ĠĠĠĠ"),
    ("ĠĠĠĠĠĠĠĠ", "ĠĠĠĠĠĠĠĠ"),
];

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

pub(crate) fn registry() -> Registry {
    Registry::load(&folder(), &[MODEL.to_owned()]).unwrap()
}

/// A copy of the tiny model that a test may spoil.
pub(crate) fn copy() -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    let target = copy.path().join(MODEL);
    std::fs::create_dir(&target).unwrap();
    for name in ["manifest.toml", "tokenizer.json", "chat_template.jinja"] {
        std::fs::copy(folder().join(MODEL).join(name), target.join(name)).unwrap();
    }
    copy
}

fn letter(byte: u8) -> char {
    let printable = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|byte| !printable(*byte)).count();
    char::from_u32(0x100 + u32::try_from(before).unwrap()).unwrap()
}

/// The id of a single byte.
pub(crate) fn byte(byte: u8) -> u32 {
    FIRST_BYTE + u32::from(byte)
}

pub(crate) fn tokenizer_json() -> String {
    let mut vocabulary: BTreeMap<String, u32> = ADDED.map(|(id, text, _)| (text.to_owned(), id)).into();
    for value in 0..=u8::MAX {
        vocabulary.insert(letter(value).to_string(), byte(value));
    }
    let merges: Vec<String> = MERGES
        .iter()
        .map(|(left, right)| format!("{left} {right}"))
        .collect();
    for (left, right) in MERGES {
        let next = u32::try_from(vocabulary.len()).unwrap();
        vocabulary.insert(format!("{left}{right}"), next);
    }
    let added = ADDED.map(|(id, content, special)| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": special,
        })
    });
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
    });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": null,
        "pre_tokenizer": byte_level,
        "post_processor": null,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocabulary, "merges": merges,
        },
    });
    serde_json::to_string_pretty(&tokenizer).unwrap() + "\n"
}

/// Compares the committed file with what this module makes; with `ATOLL_FIXTURE=write` it writes it.
#[test]
fn the_committed_tokenizer_is_the_one_that_this_module_makes() {
    let path = folder().join(MODEL).join("tokenizer.json");
    if std::env::var_os("ATOLL_FIXTURE").is_some_and(|value| value == "write") {
        std::fs::write(&path, tokenizer_json()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap(), tokenizer_json());
}
