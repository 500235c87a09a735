//! A matrix whose product with a row does not depend on the rows beside it.
//!
//! candle's fast x86 tiles want the inner length to be a multiple of 256, and some of its kernels
//! round otherwise for one row than for several. So at load the weights are padded with zeros,
//! quantised to `Q8_0`, and *probed*: if several rows at once do not equal the same rows one by
//! one, to the bit, rows are always multiplied one by one. Which kernel runs is chosen by the
//! processor, so the probe also compares the products with exact ones: an Island whose kernel is
//! wrong says so when it loads, instead of selling nonsense.

#![expect(
    clippy::float_arithmetic,
    reason = "a numeric kernel and its probe; no money or time passes through here"
)]

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result, Tensor};

/// The inner length is padded to a multiple of this: a block of candle's activation format.
const INNER_MULTIPLE: usize = 256;

/// Rows multiplied together by the probe: a full tile of candle's kernels and a partial one.
const PROBE_ROWS: usize = 7;

/// How many outputs of the probe are compared with exact products, spread over the weights.
const PROBE_OUTPUTS: usize = 64;

/// How far the products may lie from the exact ones, as a part of these, in the root mean square.
///
/// Two roundings to eight bits stay below a hundredth; a wrong kernel does not come near.
const DEVIATION_MAX: f64 = 0.05;

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
        linear.rows = linear.probe(&sample(parts, inputs, outputs))?;
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

    /// How rows are to be multiplied, once the products of some outputs have been found right.
    fn probe(&self, sample: &[(usize, &[f32])]) -> Result<Rows> {
        let rows = noise(self.inputs.saturating_mul(PROBE_ROWS));
        let together = self.product(&rows)?;
        let one_by_one = self.one_by_one(&rows)?;
        for products in [&together, &one_by_one] {
            let deviation = deviation(products, self.outputs, &rows, sample);
            if deviation > DEVIATION_MAX {
                return Err(candle_core::Error::msg(format!(
                    "the products of this processor's kernel are off by {:.0} % (rounding explains {:.0} %): \
                     it must not be used; report the processor's model and flags",
                    deviation * 100.0,
                    DEVIATION_MAX * 100.0,
                )));
            }
        }
        let equal = together
            .iter()
            .zip(&one_by_one)
            .all(|(left, right)| left.to_bits() == right.to_bits());
        Ok(if equal { Rows::Together } else { Rows::OneByOne })
    }
}

/// Some of the weights' rows, spread over all of them, each with its place.
fn sample(parts: &[Vec<f32>], inputs: usize, outputs: usize) -> Vec<(usize, &[f32])> {
    let step = outputs.div_ceil(PROBE_OUTPUTS).max(1);
    let rows = parts.iter().flat_map(|part| part.chunks_exact(inputs));
    rows.enumerate().step_by(step).collect()
}

/// How far `products` (`outputs` for each of `rows`) lie from the exact ones of a sample of the
/// outputs: the root mean square of the differences as a part of that of the exact products.
fn deviation(products: &[f32], outputs: usize, rows: &[f32], sample: &[(usize, &[f32])]) -> f64 {
    let (mut difference, mut size) = (0.0_f64, 0.0_f64);
    for &(output, weights) in sample {
        let computed = products.chunks_exact(outputs).map(|row| row[output]);
        for (row, computed) in rows.chunks_exact(weights.len()).zip(computed) {
            let exact: f64 = row
                .iter()
                .zip(weights)
                .map(|(x, w)| f64::from(*x) * f64::from(*w))
                .sum();
            difference += (f64::from(computed) - exact).powi(2);
            size += exact.powi(2);
        }
    }
    // Weights of zeros alone have nothing to be off from.
    if difference > 0.0 {
        (difference / size).sqrt()
    } else {
        0.0
    }
}

fn pad(row: &[f32], length: usize, padded: &mut Vec<f32>) {
    let end = padded.len().saturating_add(length);
    padded.extend_from_slice(row);
    padded.resize(end, 0.0);
}

/// Numbers between -1 and 1 without a pattern: the bits of a linear congruence as a mantissa.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f32::from_bits(0x4000_0000 | (state >> 9)) - 3.0
    })
    .take(count)
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: usize = 300;
    const OUTPUTS: usize = 96;
    /// Every second of them is looked at: all are more than the probe takes.
    const SAMPLED: usize = 48;

    #[test]
    fn a_product_is_exact_but_for_its_roundings() {
        let weights = [noise(INPUTS * OUTPUTS)];
        let linear = Linear::stack(&weights, INPUTS).unwrap();
        let rows = noise(INPUTS * PROBE_ROWS);
        let sample = sample(&weights, INPUTS, OUTPUTS);
        assert_eq!(sample.len(), SAMPLED);
        let products = linear.forward(&rows).unwrap();
        let off = deviation(&products, OUTPUTS, &rows, &sample);
        assert!(off > 0.0 && off < DEVIATION_MAX / 2.0, "{off}");
    }

    #[test]
    fn a_kernel_that_computes_something_else_is_refused() {
        let weights = [noise(INPUTS * OUTPUTS)];
        let linear = Linear::stack(&weights, INPUTS).unwrap();
        // To the probe, other weights are what a kernel is that drops or reads twice a part of its block.
        let mut others = weights.clone();
        for block in others[0].chunks_exact_mut(32) {
            block[..4].fill(0.0);
        }
        let refused = linear.probe(&sample(&others, INPUTS, OUTPUTS)).unwrap_err();
        assert!(refused.to_string().contains("must not be used"), "{refused}");
        assert!(linear.probe(&sample(&weights, INPUTS, OUTPUTS)).is_ok());
    }

    #[test]
    fn weights_of_zeros_are_right() {
        let weights = [vec![0.0; INPUTS * OUTPUTS]];
        let linear = Linear::stack(&weights, INPUTS).unwrap();
        assert!(
            linear
                .forward(&noise(INPUTS))
                .unwrap()
                .iter()
                .all(|product| *product == 0.0)
        );
    }
}
