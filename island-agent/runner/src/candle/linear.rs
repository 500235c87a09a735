//! A matrix whose product with a row does not depend on the rows beside it.
//!
//! candle's fast x86 tiles want the inner length to be a multiple of 256, and some of its kernels
//! round otherwise for one row than for several. So at load the weights are padded with zeros,
//! quantised to `Q8_0`, and *probed*: if several rows at once do not equal the same rows one by
//! one, to the bit, rows are always multiplied one by one.

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor};

/// The inner length is padded to a multiple of this: a block of candle's activation format.
const INNER_MULTIPLE: usize = 256;

/// Rows multiplied together by the probe: a full tile of candle's kernels and a partial one.
const PROBE_ROWS: usize = 7;

/// How the rows of one product are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    /// All at once: the kernel gives each row the same bits either way.
    Together,
    /// One at a time: the kernel does not.
    OneByOne,
}

/// Weights of `outputs` rows with `inputs` values each.
#[derive(Debug)]
pub(super) struct Linear {
    weights: QTensor,
    inputs: usize,
    inputs_padded: usize,
    outputs: usize,
    rows: Rows,
}

impl Linear {
    /// Quantises `outputs × inputs` weights; the parts are stacked in their order.
    pub(super) fn stack(parts: &[Vec<f32>], inputs: usize) -> Result<Self> {
        let inputs_padded = inputs.next_multiple_of(INNER_MULTIPLE);
        let count: usize = parts.iter().map(Vec::len).sum();
        let outputs = count
            .checked_div(inputs)
            .ok_or_else(|| candle_core::Error::msg("a matrix without inputs"))?;
        let mut padded = Vec::with_capacity(outputs.saturating_mul(inputs_padded));
        for row in parts.iter().flat_map(|part| part.chunks_exact(inputs)) {
            pad(row, inputs_padded, &mut padded);
        }
        let tensor = Tensor::from_vec(padded, (outputs, inputs_padded), &Device::Cpu)?;
        let mut linear = Self {
            weights: QTensor::quantize(&tensor, GgmlDType::Q8_0)?,
            inputs,
            inputs_padded,
            outputs,
            rows: Rows::Together,
        };
        linear.rows = linear.probe()?;
        Ok(linear)
    }

    /// How many values a product has per row.
    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// How rows are multiplied.
    pub(super) fn rows(&self) -> Rows {
        self.rows
    }

    /// Multiplies every row of `inputs` with the weights.
    pub(super) fn forward(&self, inputs: &[f32]) -> Result<Vec<f32>> {
        match self.rows {
            Rows::Together => self.product(inputs),
            Rows::OneByOne => self.one_by_one(inputs),
        }
    }

    fn one_by_one(&self, inputs: &[f32]) -> Result<Vec<f32>> {
        let mut products = Vec::with_capacity(self.outputs);
        for row in inputs.chunks_exact(self.inputs) {
            products.extend_from_slice(&self.product(row)?);
        }
        Ok(products)
    }

    fn product(&self, inputs: &[f32]) -> Result<Vec<f32>> {
        let mut padded = Vec::with_capacity(inputs.len().saturating_mul(2));
        let mut row_count = 0_usize;
        for row in inputs.chunks_exact(self.inputs) {
            pad(row, self.inputs_padded, &mut padded);
            row_count = row_count.saturating_add(1);
        }
        let rows = Tensor::from_vec(padded, (row_count, self.inputs_padded), &Device::Cpu)?;
        rows.apply_op1_no_bwd(&self.weights)?.flatten_all()?.to_vec1()
    }

    fn probe(&self) -> Result<Rows> {
        let rows = noise(self.inputs.saturating_mul(PROBE_ROWS));
        let together = self.product(&rows)?;
        let one_by_one = self.one_by_one(&rows)?;
        let equal = together
            .iter()
            .zip(&one_by_one)
            .all(|(left, right)| left.to_bits() == right.to_bits());
        Ok(if equal { Rows::Together } else { Rows::OneByOne })
    }
}

fn pad(row: &[f32], length: usize, padded: &mut Vec<f32>) {
    let end = padded.len().saturating_add(length);
    padded.extend_from_slice(row);
    padded.resize(end, 0.0);
}

/// Numbers between -1 and 1 without a pattern: the bits of a linear congruence as a mantissa.
#[expect(
    clippy::float_arithmetic,
    reason = "test rows for a numeric kernel; no money or time passes through here"
)]
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(0x4000_0000 | (state >> 9)) - 3.0
    })
    .take(count)
    .collect()
}
