//! The llama family's forward pass over rows of several jobs at once.
//!
//! A *span* is a run of consecutive ids of one job. All spans of a step share the matrix products;
//! attention and everything else runs row by row against the job's own cache. No result depends
//! on what shares a step with it: see [`super::linear`] and [`crate::kernels`].

use candle_core::quantized::QTensor;
use candle_core::{Device, Result, Tensor};
use pulp::NullaryFnOnce;

use super::cache::{CacheShape, KvCache};
use super::linear::{Linear, Rows};
use crate::kernels::{self, Keyed};

/// The numbers that a checkpoint's header states.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) layer_count: usize,
    pub(super) hidden_size: usize,
    pub(super) feed_forward_size: usize,
    pub(super) head_count: usize,
    pub(super) kv_head_count: usize,
    pub(super) head_size: usize,
    pub(super) vocabulary_size: usize,
    pub(super) norm_epsilon: f32,
    pub(super) rotation_base: f64,
}

/// One transformer block.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attention_norm: Vec<f32>,
    pub(super) query_key_value: Linear,
    pub(super) attention_output: Linear,
    pub(super) feed_forward_norm: Vec<f32>,
    pub(super) gate_up: Linear,
    pub(super) down: Linear,
}

/// The weights; shared by all jobs, never changed.
#[derive(Debug)]
pub(super) struct Llama {
    pub(super) shape: Shape,
    pub(super) embedding: QTensor,
    pub(super) layers: Vec<Layer>,
    pub(super) output_norm: Vec<f32>,
    pub(super) output: Linear,
    pub(super) rotations: Rotations,
}

/// Which rows of a span need logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// None: the span is followed by more known ids.
    Nothing,
    /// The last row's: the next id is to be chosen.
    Last,
    /// Every row's.
    #[cfg(test)]
    All,
}

/// Consecutive ids of one job, to be appended to its cache.
#[derive(Debug)]
pub(super) struct Span<'a> {
    pub(super) ids: &'a [u32],
    pub(super) cache: &'a mut KvCache,
    pub(super) wanted: Wanted,
}

/// Cosines and sines for every position of the context.
#[derive(Debug)]
pub(super) struct Rotations {
    pair_count: usize,
    cosines: Vec<f32>,
    sines: Vec<f32>,
}

impl Rotations {
    pub(super) fn new(context_length: u32, head_size: usize, base: f64) -> Self {
        let pair_count = head_size >> 1;
        let (mut cosines, mut sines) = (Vec::new(), Vec::new());
        let (mut row_cosines, mut row_sines) = (vec![0.0; pair_count], vec![0.0; pair_count]);
        for position in 0..context_length {
            kernels::rotation(position.into(), base, &mut row_cosines, &mut row_sines);
            cosines.extend_from_slice(&row_cosines);
            sines.extend_from_slice(&row_sines);
        }
        Self {
            pair_count,
            cosines,
            sines,
        }
    }

    fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let range = position * self.pair_count..position.saturating_add(1) * self.pair_count;
        (&self.cosines[range.clone()], &self.sines[range])
    }
}

/// One row of a step: which span it belongs to and where it stands.
#[derive(Clone, Copy)]
struct Row {
    span: usize,
    position: usize,
}

impl Llama {
    /// An empty cache with room for `capacity` positions.
    pub(super) fn new_cache(&self, capacity: usize) -> KvCache {
        let shape = CacheShape {
            layer_count: self.shape.layer_count,
            head_count: self.shape.kv_head_count,
            head_size: self.shape.head_size,
        };
        KvCache::new(shape, capacity)
    }

    /// How the matrices multiply rows: one by one if any of them must.
    pub(super) fn rows(&self) -> Rows {
        let mut linears = self.layers.iter().flat_map(|layer| {
            [
                &layer.query_key_value,
                &layer.attention_output,
                &layer.gate_up,
                &layer.down,
            ]
        });
        let all_together =
            linears.all(|linear| linear.rows() == Rows::Together) && self.output.rows() == Rows::Together;
        if all_together {
            Rows::Together
        } else {
            Rows::OneByOne
        }
    }

    /// Appends every span to its cache; returns the wanted logits, in the order of the rows.
    ///
    /// # Panics
    ///
    /// If a span has more ids than its cache has room.
    pub(super) fn forward(&self, spans: &mut [Span<'_>]) -> Result<Vec<Vec<f32>>> {
        let rows = rows_of(spans);
        let mut hidden = self.embed(spans)?;
        for (index, layer) in self.layers.iter().enumerate() {
            self.attention(index, layer, spans, &rows, &mut hidden)?;
            self.feed_forward(layer, &mut hidden)?;
        }
        for span in spans.iter_mut() {
            span.cache.advance(span.ids.len());
        }
        let wanted = self.wanted_rows(spans, &hidden);
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let normed = self.norm(&wanted, &self.output_norm);
        let logits = self.output.forward(&normed)?;
        let rows = logits.chunks_exact(self.output.outputs());
        Ok(rows.map(<[f32]>::to_vec).collect())
    }

    fn embed(&self, spans: &[Span<'_>]) -> Result<Vec<f32>> {
        let ids: Vec<u32> = spans.iter().flat_map(|span| span.ids).copied().collect();
        let count = ids.len();
        let ids = Tensor::from_vec(ids, count, &Device::Cpu)?;
        self.embedding.embedding(&ids)?.flatten_all()?.to_vec1()
    }

    fn norm(&self, rows: &[f32], weight: &[f32]) -> Vec<f32> {
        let mut normed = vec![0.0; rows.len()];
        pulp::Arch::new().dispatch(NormRows {
            rows,
            weight,
            epsilon: self.shape.norm_epsilon,
            out: &mut normed,
        });
        normed
    }

    fn attention(
        &self,
        index: usize,
        layer: &Layer,
        spans: &mut [Span<'_>],
        rows: &[Row],
        hidden: &mut [f32],
    ) -> Result<()> {
        let query_size = self.shape.head_count * self.shape.head_size;
        let normed = self.norm(hidden, &layer.attention_norm);
        let mut projected = layer.query_key_value.forward(&normed)?;
        let mut attended = vec![0.0; rows.len() * query_size];
        pulp::Arch::new().dispatch(AttendRows {
            model: self,
            layer: index,
            spans,
            rows,
            projected: &mut projected,
            out: &mut attended,
        });
        kernels::add(hidden, &layer.attention_output.forward(&attended)?);
        Ok(())
    }

    fn feed_forward(&self, layer: &Layer, hidden: &mut [f32]) -> Result<()> {
        let size = self.shape.feed_forward_size;
        let normed = self.norm(hidden, &layer.feed_forward_norm);
        let gate_up = layer.gate_up.forward(&normed)?;
        let mut gated = vec![0.0; gate_up.len() >> 1];
        pulp::Arch::new().dispatch(GateRows {
            size,
            gate_up: &gate_up,
            out: &mut gated,
        });
        kernels::add(hidden, &layer.down.forward(&gated)?);
        Ok(())
    }

    fn wanted_rows(&self, spans: &[Span<'_>], hidden: &[f32]) -> Vec<f32> {
        let size = self.shape.hidden_size;
        let mut wanted = Vec::new();
        let mut start = 0_usize;
        for span in spans {
            let end = start.saturating_add(span.ids.len() * size);
            match span.wanted {
                Wanted::Nothing => {}
                Wanted::Last => wanted.extend_from_slice(&hidden[end.saturating_sub(size)..end]),
                #[cfg(test)]
                Wanted::All => wanted.extend_from_slice(&hidden[start..end]),
            }
            start = end;
        }
        wanted
    }
}

/// Normalises rows.
struct NormRows<'a> {
    rows: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
    out: &'a mut [f32],
}

impl NullaryFnOnce for NormRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let size = self.weight.len();
        let outs = self.out.chunks_exact_mut(size);
        for (row, out) in self.rows.chunks_exact(size).zip(outs) {
            kernels::rms_norm(row, self.weight, self.epsilon, out);
        }
    }
}

/// Gates rows of `size` values.
struct GateRows<'a> {
    size: usize,
    gate_up: &'a [f32],
    out: &'a mut [f32],
}

impl NullaryFnOnce for GateRows<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let outs = self.out.chunks_exact_mut(self.size);
        for (row, out) in self.gate_up.chunks_exact(self.size * 2).zip(outs) {
            kernels::gated(row, out);
        }
    }
}

/// Rotates and stores the keys and values of all rows of a layer, then attends with each.
///
/// In two passes, for a row attends to those before it in the same span.
struct AttendRows<'a, 'b> {
    model: &'a Llama,
    layer: usize,
    spans: &'a mut [Span<'b>],
    rows: &'a [Row],
    /// Queries, keys and values of each row.
    projected: &'a mut [f32],
    out: &'a mut [f32],
}

impl NullaryFnOnce for AttendRows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let shape = self.model.shape;
        let head_size = shape.head_size;
        let query_size = shape.head_count * head_size;
        let kv_size = shape.kv_head_count * head_size;
        let width = query_size + 2 * kv_size;
        for (row, projected) in self.rows.iter().zip(self.projected.chunks_exact_mut(width)) {
            let (cosines, sines) = self.model.rotations.at(row.position);
            let (rotated, values) = projected.split_at_mut(query_size + kv_size);
            kernels::rotate(rotated, head_size, cosines, sines);
            let cache = &mut *self.spans[row.span].cache;
            cache.write(self.layer, row.position, &rotated[query_size..], values);
        }
        let group_size = query_size.checked_div(shape.kv_head_count).unwrap_or(query_size);
        let mut scores = Vec::new();
        let outs = self.out.chunks_exact_mut(query_size);
        for ((row, projected), out) in self.rows.iter().zip(self.projected.chunks_exact(width)).zip(outs) {
            let cache = &*self.spans[row.span].cache;
            let groups = projected[..query_size].chunks_exact(group_size);
            for (head, (queries, out)) in groups.zip(out.chunks_exact_mut(group_size)).enumerate() {
                let (keys, values) = cache.read(self.layer, head, row.position + 1);
                let keyed = Keyed {
                    keys,
                    values,
                    head_size,
                };
                kernels::attend(queries, keyed, &mut scores, out);
            }
        }
    }
}

fn rows_of(spans: &[Span<'_>]) -> Vec<Row> {
    let mut rows = Vec::new();
    for (index, span) in spans.iter().enumerate() {
        assert!(span.ids.len() <= span.cache.room(), "a span fits its cache");
        let start = span.cache.length();
        rows.extend((start..).take(span.ids.len()).map(|position| Row {
            span: index,
            position,
        }));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::candle::load::load;
    use crate::gguf::Header;
    use island_agent::models::manifest::Manifest;
    use island_agent::models::progress::Silent;
    use island_agent::models::store::ModelStore;

    /// Ids of no text in particular.
    fn ids(count: u32) -> Vec<u32> {
        (1..=count).map(|index| index * 7_919 % 49_152).collect()
    }

    /// The bits of the logits at every position, read in chunks of `chunk`.
    fn logits(model: &Llama, ids: &[u32], chunk: usize) -> Vec<Vec<u32>> {
        let mut cache = model.new_cache(ids.len());
        let mut logits = Vec::new();
        for ids in ids.chunks(chunk) {
            let span = Span {
                ids,
                cache: &mut cache,
                wanted: Wanted::All,
            };
            logits.extend(bits(model.forward(&mut [span]).unwrap()));
        }
        logits
    }

    fn bits(logits: Vec<Vec<f32>>) -> Vec<Vec<u32>> {
        let bits = |row: Vec<f32>| row.into_iter().map(f32::to_bits).collect();
        logits.into_iter().map(bits).collect()
    }

    #[test]
    fn logits_do_not_depend_on_what_is_computed_with_them() {
        let manifest = Manifest::all_built_in().swap_remove(0);
        let store = ModelStore::per_user(|name| std::env::var_os(name)).unwrap();
        let model = store.ensure_installed(&manifest, &mut Silent).unwrap();
        let model = load(&Header::read(&model.weights()).unwrap(), 64).unwrap();
        let ids = ids(36);
        let one_by_one = logits(&model, &ids, 1);
        for chunk in [2, 5, 7, 32, 36] {
            assert!(
                logits(&model, &ids, chunk) == one_by_one,
                "chunks of {chunk} give other bits than single rows"
            );
        }
        // Beside another job, at another position of its own.
        let (mut beside, mut cache) = (model.new_cache(36), model.new_cache(36));
        let mut shared = Vec::new();
        for (index, pair) in ids.chunks(3).enumerate() {
            let other = Span {
                ids: &ids[index..index + 2],
                cache: &mut beside,
                wanted: Wanted::Last,
            };
            let span = Span {
                ids: pair,
                cache: &mut cache,
                wanted: Wanted::All,
            };
            shared.extend(bits(model.forward(&mut [other, span]).unwrap()).split_off(1));
        }
        assert!(shared == one_by_one, "a neighbour changes the bits");
    }
}
