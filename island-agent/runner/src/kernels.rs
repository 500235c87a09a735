//! The float arithmetic between two matrix products, on plain slices.
//!
//! Everything here works on one row (one position of one job) at a time, and every sum runs in an
//! order that depends on its length alone. So a position's result does not depend on how many rows
//! are computed with it: prefill and decode agree to the bit. Only additions, multiplications,
//! divisions and square roots are used, never fused ones, so wider vector units change the speed
//! and not the result. Whoever calls them does so from a [`pulp::NullaryFnOnce`] that is always
//! inlined: only then are they compiled for the vector units that are there (a closure is not).
#![expect(
    clippy::float_arithmetic,
    reason = "numeric kernels; no money or time passes through here"
)]

/// Independent running sums, so that a sum can use vector registers without being reordered.
const LANES: usize = 16;

/// e to the power of `x`, to about one unit in the last place; for `x` at most 88.
///
/// Our own, for a call into the platform's library neither vectorises nor is the same everywhere.
/// Range reduction by ln 2 in two parts, then the polynomial of Cephes' `expf`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// Adding 1.5 × 2^23 rounds to a whole number, which is then in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let whole = shifted - ROUNDER;
    let r = x - whole * 0.693_359_4 - whole * -2.121_944_4e-4;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 0.5;
    let fraction = p * r * r + r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUNDER.to_bits());
    fraction * f32::from_bits(exponent.wrapping_add(127) << 23)
}

#[inline(always)]
fn sum_lanes(lanes: [f32; LANES]) -> f32 {
    let mut sums = lanes;
    let mut width = LANES;
    while width > 1 {
        width >>= 1;
        for index in 0..width {
            sums[index] += sums[index.wrapping_add(width)];
        }
    }
    sums[0]
}

#[inline(always)]
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (left_chunks, left_rest) = left.as_chunks::<LANES>();
    let (right_chunks, right_rest) = right.as_chunks::<LANES>();
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        for lane in 0..LANES {
            lanes[lane] += left[lane] * right[lane];
        }
    }
    for (lane, (left, right)) in left_rest.iter().zip(right_rest).enumerate() {
        lanes[lane] += left * right;
    }
    sum_lanes(lanes)
}

#[inline(always)]
fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        lanes[lane] += value;
    }
    sum_lanes(lanes)
}

/// Scales a row to unit root mean square, then by `weight`, into `out`.
#[inline(always)]
pub(crate) fn rms_norm(row: &[f32], weight: &[f32], epsilon: f32, out: &mut [f32]) {
    let length: f32 = row.iter().map(|_| 1.0).sum();
    let scale = 1.0 / (dot(row, row) / length + epsilon).sqrt();
    for ((out, value), weight) in out.iter_mut().zip(row).zip(weight) {
        *out = value * scale * weight;
    }
}

/// Adds `addend` to `row`.
#[inline(always)]
pub(crate) fn add(row: &mut [f32], addend: &[f32]) {
    for (value, addend) in row.iter_mut().zip(addend) {
        *value += addend;
    }
}

/// `silu(gate) × up`, into `out`; `gate_up` holds the gate and then the up part.
#[inline(always)]
pub(crate) fn gated(gate_up: &[f32], out: &mut [f32]) {
    let (gate, up) = gate_up.split_at(out.len());
    for ((out, gate), up) in out.iter_mut().zip(gate).zip(up) {
        *out = gate / (1.0 + exp(-gate)) * up;
    }
}

/// Turns each pair (2i, 2i + 1) of every head by its angle.
#[inline(always)]
pub(crate) fn rotate(heads: &mut [f32], head_size: usize, cosines: &[f32], sines: &[f32]) {
    for head in heads.chunks_exact_mut(head_size) {
        let (pairs, _) = head.as_chunks_mut::<2>();
        for ((pair, cosine), sine) in pairs.iter_mut().zip(cosines).zip(sines) {
            let [even, odd] = *pair;
            *pair = [even * cosine - odd * sine, even * sine + odd * cosine];
        }
    }
}

/// The cosines and sines of `position` for a head of `2 × out.len()` values.
pub(crate) fn rotation(position: f64, base: f64, cosines: &mut [f32], sines: &mut [f32]) {
    let pair_count: f64 = cosines.iter().map(|_| 1.0).sum();
    let mut index = 0.0;
    for (cosine, sine) in cosines.iter_mut().zip(sines) {
        let (sine_f64, cosine_f64) = (position * base.powf(-index / pair_count)).sin_cos();
        *cosine = narrow(cosine_f64);
        *sine = narrow(sine_f64);
        index += 1.0;
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "rounding a sine to f32 is the intent, and there is no other conversion"
)]
fn narrow(value: f64) -> f32 {
    value as f32
}

/// What one row of attention reads: the keys and values of one group of heads.
#[derive(Clone, Copy)]
pub(crate) struct Keyed<'a> {
    /// `positions × head_size` keys, oldest first.
    pub(crate) keys: &'a [f32],
    /// `positions × head_size` values, oldest first.
    pub(crate) values: &'a [f32],
    /// The length of one key.
    pub(crate) head_size: usize,
}

/// Attends with every query head of one group to the group's positions.
///
/// `queries` and `out` hold the group's heads, one after another; `scores` is scratch space.
#[inline(always)]
pub(crate) fn attend(queries: &[f32], keyed: Keyed<'_>, scores: &mut Vec<f32>, out: &mut [f32]) {
    let Keyed {
        keys,
        values,
        head_size,
    } = keyed;
    let length: f32 = keys.iter().take(head_size).map(|_| 1.0).sum();
    let scale = 1.0 / length.sqrt();
    let position_count = keys.chunks_exact(head_size).len();
    let heads = queries.chunks_exact(head_size);
    for (query, out) in heads.zip(out.chunks_exact_mut(head_size)) {
        scores.clear();
        scores.resize(position_count, 0.0);
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(head_size)) {
            *score = dot(query, key) * scale;
        }
        let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for score in scores.iter_mut() {
            *score = exp(*score - highest);
        }
        let share = 1.0 / sum(scores);
        out.fill(0.0);
        for (score, value) in scores.iter().zip(values.chunks_exact(head_size)) {
            for (out, value) in out.iter_mut().zip(value) {
                *out += score * value;
            }
        }
        for out in out.iter_mut() {
            *out *= share;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_to_the_library() {
        for step in -8_600_i16..880 {
            let x = f32::from(step) * 0.01;
            let error = (exp(x) - x.exp()).abs() / x.exp();
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert!(exp(-1e9) < 1e-37);
    }

    #[test]
    fn attention_to_one_position_is_its_value() {
        let keyed = Keyed {
            keys: &[0.5, -0.5],
            values: &[3.0, 4.0],
            head_size: 2,
        };
        let mut out = [0.0; 2];
        attend(&[1.0, 2.0], keyed, &mut Vec::new(), &mut out);
        assert_eq!(out.map(f32::to_bits), [3.0_f32, 4.0].map(f32::to_bits));
    }
}
