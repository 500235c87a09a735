//! Turns a checked weights file into a [`Llama`].
//!
//! Refuses what it does not implement (other architectures, biases, scaled rotations, unknown
//! tensors) instead of computing something else.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use candle_core::Device;
use candle_core::quantized::QTensor;

use super::linear::Linear;
use super::llama::{Layer, Llama, Rotations, Shape};
use crate::gguf::{Header, HeaderError};

/// The most layers that are accepted: more than the largest llama has.
const LAYER_COUNT_MAX: u32 = 256;
/// The most values in a row, a head or the vocabulary that are accepted.
const SIZE_MAX: u32 = 1 << 20;

/// Why weights could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The header is not acceptable.
    #[error("the weights file was not accepted")]
    Header(#[from] HeaderError),
    /// The file holds a model that this runner does not compute.
    #[error("{path} is not supported: {reason}")]
    Unsupported {
        /// Which file.
        path: PathBuf,
        /// What is not supported.
        reason: String,
    },
    /// A tensor is missing, has another shape or cannot be read.
    #[error("could not load tensor {name}")]
    Tensor {
        /// Which tensor.
        name: String,
        /// What went wrong.
        #[source]
        source: candle_core::Error,
    },
    /// The file cannot be opened.
    #[error("could not open {path}")]
    Open {
        /// Which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

/// Loads the model of `header`, for contexts of up to `context_length`.
pub(super) fn load(header: &Header, context_length: u32) -> Result<Llama, WeightsError> {
    let shape = read_shape(header)?;
    let mut reader = TensorReader::open(header)?;
    let hidden = shape.hidden_size;
    let embedding = reader.tensor("token_embd.weight", &[shape.vocabulary_size, hidden])?;
    let mut layers = Vec::new();
    for index in 0..shape.layer_count {
        layers.push(reader.layer(index, &shape)?);
    }
    let output_norm = reader.floats("output_norm.weight", &[hidden])?;
    let output_shape = [shape.vocabulary_size, hidden];
    let output = if reader.has("output.weight") {
        reader.linear(&["output.weight"], &[output_shape])?
    } else {
        reader.linear(&["token_embd.weight"], &[output_shape])?
    };
    reader.check_all_used()?;
    Ok(Llama {
        shape,
        embedding,
        layers,
        output_norm,
        output,
        rotations: Rotations::new(context_length, shape.head_size, shape.rotation_base),
    })
}

fn read_shape(header: &Header) -> Result<Shape, WeightsError> {
    let unsupported = |reason: String| WeightsError::Unsupported {
        path: header.path().to_owned(),
        reason,
    };
    let architecture = header.text("general.architecture")?;
    if architecture != "llama" {
        return Err(unsupported(format!("architecture {architecture:?}")));
    }
    if header.has("llama.rope.scaling.type") || header.has("llama.expert_count") {
        return Err(unsupported("scaled rotations or experts".to_owned()));
    }
    let size = |key: &str, size_max: u32| -> Result<usize, WeightsError> {
        let size = header.number(key)?;
        if size == 0 || size > size_max {
            return Err(unsupported(format!("{key} is {size}")));
        }
        usize::try_from(size).map_err(|_| unsupported(format!("{key} is {size}")))
    };
    let hidden_size = size("llama.embedding_length", SIZE_MAX)?;
    let head_count = size("llama.attention.head_count", SIZE_MAX)?;
    let kv_head_count = size("llama.attention.head_count_kv", SIZE_MAX)?;
    let head_size = size("llama.rope.dimension_count", SIZE_MAX)?;
    if head_count.checked_mul(head_size) != Some(hidden_size)
        || head_count.checked_rem(kv_head_count) != Some(0)
        || head_size.checked_rem(2) != Some(0)
    {
        return Err(unsupported(format!(
            "{head_count} heads ({kv_head_count} for keys) of {head_size} in rows of {hidden_size}"
        )));
    }
    let vocabulary_size = header.list("tokenizer.ggml.tokens")?.len();
    let rotation_base = match header.has("llama.rope.freq_base") {
        true => header.float("llama.rope.freq_base")?,
        false => 10_000.0,
    };
    Ok(Shape {
        layer_count: size("llama.block_count", LAYER_COUNT_MAX)?,
        hidden_size,
        feed_forward_size: size("llama.feed_forward_length", SIZE_MAX)?,
        head_count,
        kv_head_count,
        head_size,
        vocabulary_size,
        norm_epsilon: header.float("llama.attention.layer_norm_rms_epsilon")?,
        rotation_base: f64::from(rotation_base),
    })
}

/// Reads tensors by name and remembers which were read.
struct TensorReader<'a> {
    header: &'a Header,
    reader: BufReader<File>,
    used: BTreeSet<String>,
}

impl<'a> TensorReader<'a> {
    fn open(header: &'a Header) -> Result<Self, WeightsError> {
        let file = File::open(header.path()).map_err(|source| WeightsError::Open {
            path: header.path().to_owned(),
            source,
        })?;
        Ok(Self {
            header,
            reader: BufReader::new(file),
            used: BTreeSet::new(),
        })
    }

    fn layer(&mut self, index: usize, shape: &Shape) -> Result<Layer, WeightsError> {
        let hidden = shape.hidden_size;
        let kv_size = shape.kv_head_count * shape.head_size;
        let wide = shape.feed_forward_size;
        let name = |part: &str| format!("blk.{index}.{part}.weight");
        Ok(Layer {
            attention_norm: self.floats(&name("attn_norm"), &[hidden])?,
            query_key_value: self.linear(
                &[&name("attn_q"), &name("attn_k"), &name("attn_v")],
                &[[hidden, hidden], [kv_size, hidden], [kv_size, hidden]],
            )?,
            attention_output: self.linear(&[&name("attn_output")], &[[hidden, hidden]])?,
            feed_forward_norm: self.floats(&name("ffn_norm"), &[hidden])?,
            gate_up: self.linear(
                &[&name("ffn_gate"), &name("ffn_up")],
                &[[wide, hidden], [wide, hidden]],
            )?,
            down: self.linear(&[&name("ffn_down")], &[[hidden, wide]])?,
        })
    }

    fn has(&self, name: &str) -> bool {
        self.header.content().tensor_infos.contains_key(name)
    }

    fn tensor(&mut self, name: &str, dims: &[usize]) -> Result<QTensor, WeightsError> {
        let content = self.header.content();
        let failed = |source| WeightsError::Tensor {
            name: name.to_owned(),
            source,
        };
        let Some(info) = content.tensor_infos.get(name) else {
            return Err(failed(candle_core::Error::msg("it is not in the file")));
        };
        if info.shape.dims() != dims {
            let reason = format!("its shape is {:?}, not {dims:?}", info.shape.dims());
            return Err(failed(candle_core::Error::msg(reason)));
        }
        self.used.insert(name.to_owned());
        info.read(&mut self.reader, content.tensor_data_offset, &Device::Cpu)
            .map_err(failed)
    }

    fn floats(&mut self, name: &str, dims: &[usize]) -> Result<Vec<f32>, WeightsError> {
        let tensor = self.tensor(name, dims)?;
        let floats = tensor
            .dequantize(&Device::Cpu)
            .and_then(|tensor| tensor.flatten_all()?.to_vec1());
        floats.map_err(|source| WeightsError::Tensor {
            name: name.to_owned(),
            source,
        })
    }

    /// Stacks matrices of the same inner length.
    fn linear(&mut self, names: &[&str], dims: &[[usize; 2]]) -> Result<Linear, WeightsError> {
        let mut parts = Vec::new();
        let mut inputs = 0;
        for (name, dims) in names.iter().zip(dims) {
            parts.push(self.floats(name, dims)?);
            [_, inputs] = *dims;
        }
        Linear::stack(&parts, inputs).map_err(|source| WeightsError::Tensor {
            name: names.join("+"),
            source,
        })
    }

    fn check_all_used(&self) -> Result<(), WeightsError> {
        let mut names = self.header.content().tensor_infos.keys();
        match names.find(|name| !self.used.contains(*name)) {
            None => Ok(()),
            Some(name) => Err(WeightsError::Unsupported {
                path: self.header.path().to_owned(),
                reason: format!("tensor {name:?} has no place in this architecture"),
            }),
        }
    }
}
