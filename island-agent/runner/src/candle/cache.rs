//! The keys and values of one job's positions.

/// The shape that every layer's keys share.
#[derive(Clone, Copy, Debug)]
pub(super) struct CacheShape {
    /// Layers of the model.
    pub(super) layer_count: usize,
    /// Key/value heads of a layer.
    pub(super) head_count: usize,
    /// Values of one head.
    pub(super) head_size: usize,
}

/// Preallocated for all the positions that its job can reach; filled in order, never moved.
#[derive(Debug)]
pub(super) struct KvCache {
    shape: CacheShape,
    capacity: usize,
    length: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl KvCache {
    /// Room for `capacity` positions. The pages are touched only as positions are written.
    pub(super) fn new(shape: CacheShape, capacity: usize) -> Self {
        let count = shape
            .layer_count
            .saturating_mul(shape.head_count)
            .saturating_mul(shape.head_size)
            .saturating_mul(capacity);
        Self {
            shape,
            capacity,
            length: 0,
            keys: vec![0.0; count],
            values: vec![0.0; count],
        }
    }

    /// The positions that are complete in every layer.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The positions that still fit.
    pub(super) fn room(&self) -> usize {
        self.capacity.saturating_sub(self.length)
    }

    /// Writes one position of one layer; `keys` and `values` hold every head.
    pub(super) fn write(&mut self, layer: usize, position: usize, keys: &[f32], values: &[f32]) {
        assert!(position < self.capacity, "a position fits its cache");
        let size = self.shape.head_size;
        let heads = keys.chunks_exact(size).zip(values.chunks_exact(size));
        for (head, (key, value)) in heads.enumerate() {
            let start = self.start(layer, head).saturating_add(position * size);
            let range = start..start.saturating_add(size);
            self.keys[range.clone()].copy_from_slice(key);
            self.values[range].copy_from_slice(value);
        }
    }

    /// The keys and values of the first `count` positions of one head.
    pub(super) fn read(&self, layer: usize, head: usize, count: usize) -> (&[f32], &[f32]) {
        let start = self.start(layer, head);
        let range = start..start.saturating_add(count * self.shape.head_size);
        (&self.keys[range.clone()], &self.values[range])
    }

    /// Notes that `count` more positions are complete.
    pub(super) fn advance(&mut self, count: usize) {
        self.length = self.length.saturating_add(count);
        assert!(self.length <= self.capacity, "positions fit their cache");
    }

    fn start(&self, layer: usize, head: usize) -> usize {
        (layer * self.shape.head_count + head) * self.capacity * self.shape.head_size
    }
}
