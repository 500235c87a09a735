//! Writes tiny checkpoints, good and hostile.

use std::fs;
use std::path::Path;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use sha2::{Digest as _, Sha256};

const HIDDEN: usize = 64;
const WIDE: usize = 96;
const KV: usize = 32;

/// The texts of a byte-level vocabulary: every byte, one merge, two specials.
fn vocabulary() -> Vec<String> {
    let mut shifted = 256_u32;
    let mut tokens: Vec<String> = (0..=255_u8)
        .map(|byte| {
            let code = match byte {
                b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => u32::from(byte),
                _ => {
                    shifted += 1;
                    shifted - 1
                }
            };
            char::from_u32(code).unwrap().to_string()
        })
        .collect();
    tokens.extend(["he", "<|im_start|>", "<|im_end|>"].map(str::to_owned));
    tokens
}

fn metadata() -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let tokens = vocabulary();
    let kinds = (0..tokens.len()).map(|index| Value::I32(if index < 257 { 1 } else { 3 }));
    vec![
        ("general.architecture", text("llama")),
        ("llama.block_count", Value::U32(2)),
        ("llama.context_length", Value::U32(64)),
        ("llama.embedding_length", Value::U32(64)),
        ("llama.feed_forward_length", Value::U32(96)),
        ("llama.attention.head_count", Value::U32(4)),
        ("llama.attention.head_count_kv", Value::U32(2)),
        ("llama.rope.dimension_count", Value::U32(16)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("smollm")),
        ("tokenizer.ggml.token_type", Value::Array(kinds.collect())),
        ("tokenizer.ggml.merges", Value::Array(vec![text("h e")])),
        (
            "tokenizer.ggml.tokens",
            Value::Array(tokens.iter().map(|token| text(token)).collect()),
        ),
        ("tokenizer.chat_template", text("{{ messages[0].content }}")),
    ]
}

fn tensors() -> Vec<(String, Vec<usize>)> {
    let vocabulary = vocabulary().len();
    let mut tensors = vec![
        ("token_embd.weight".to_owned(), vec![vocabulary, HIDDEN]),
        ("output_norm.weight".to_owned(), vec![HIDDEN]),
    ];
    for layer in 0..2 {
        let parts = [
            ("attn_norm", vec![HIDDEN]),
            ("attn_q", vec![HIDDEN, HIDDEN]),
            ("attn_k", vec![KV, HIDDEN]),
            ("attn_v", vec![KV, HIDDEN]),
            ("attn_output", vec![HIDDEN, HIDDEN]),
            ("ffn_norm", vec![HIDDEN]),
            ("ffn_gate", vec![WIDE, HIDDEN]),
            ("ffn_up", vec![WIDE, HIDDEN]),
            ("ffn_down", vec![HIDDEN, WIDE]),
        ];
        for (name, dims) in parts {
            tensors.push((format!("blk.{layer}.{name}.weight"), dims));
        }
    }
    tensors
}

/// Writes a checkpoint with two layers and 259 tokens; `change` may alter its metadata.
pub(crate) fn write_changed(path: &Path, change: impl FnOnce(&mut Vec<(&'static str, Value)>)) {
    let mut state = 7_u32;
    // Numbers between 1 and 2 with a random sign: their bits are a mantissa.
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(0x3f80_0000 | (state >> 9) | (state & 0x8000_0000))
    };
    let tensors: Vec<(String, QTensor)> = tensors()
        .into_iter()
        .map(|(name, dims)| {
            let values: Vec<f32> = (0..dims.iter().product()).map(|_| noise()).collect();
            let tensor = Tensor::from_vec(values, dims, &Device::Cpu).unwrap();
            (name, QTensor::quantize(&tensor, GgmlDType::F32).unwrap())
        })
        .collect();
    let mut metadata = metadata();
    change(&mut metadata);
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<(&str, &QTensor)> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    let mut file = fs::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}

/// Writes a good checkpoint.
pub(crate) fn write(path: &Path) {
    write_changed(path, |_| {});
}

/// The digest of a file.
pub(crate) fn sha256(path: &Path) -> String {
    let digest = Sha256::digest(fs::read(path).unwrap());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A manifest for the weights in `path`, fetched from `sources`.
pub(crate) fn manifest_text(path: &Path, sources: &[String]) -> String {
    let bytes = fs::metadata(path).unwrap().len();
    let sha256 = sha256(path);
    let sources: Vec<String> = sources.iter().map(|source| format!("{source:?}")).collect();
    let floors: String = ["phone", "laptop", "desktop", "workstation", "server"]
        .iter()
        .map(|tier| format!("[tiers.{tier}]\ndecode_per_second = 1\nprefill_per_second = 1\n"))
        .collect();
    format!(
        "id = \"tiny\"\ntask = \"chat\"\nformat = \"gguf\"\nquantisation = \"F32\"\nlicence = \"CC0-1.0\"\n\
         context_length = 64\neos_token_ids = [258]\ninput_weight = 250\nsources = [{}]\n\
         [weights]\nfile = \"weights.gguf\"\nsha256 = \"{sha256}\"\nbytes = {bytes}\n{floors}",
        sources.join(", ")
    )
}
