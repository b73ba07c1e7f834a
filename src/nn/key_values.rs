use burn::tensor::{Tensor, assert_shape};

/// Keys and values of neighboring positions in one layer.
///
/// Those before the positions of a call are its past: what a [`KvCache`](super::KvCache) holds, or the prefix of a
/// [`Prompt`](super::Prompt). Gradients pass through them.
#[derive(Debug, Clone)]
pub struct KeyValues {
    /// Keys of shape `[batch, n_kv_heads, positions, d_head]`, rotated where the model rotates them.
    pub key: Tensor<4>,
    /// Values of the same shape.
    pub value: Tensor<4>,
}

impl KeyValues {
    /// Creates them of keys and values.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    #[track_caller]
    pub fn new(key: Tensor<4>, value: Tensor<4>) -> Self {
        let [batch, heads, positions, d_head] = key.dims();
        assert_shape!(value, [batch, heads, positions, d_head]);
        Self { key, value }
    }

    /// Returns the number of positions.
    pub fn positions(&self) -> usize {
        self.key.dims()[2]
    }

    /// Returns them with those of later positions behind. One sequence stands before each of a batch.
    ///
    /// # Panics
    ///
    /// If heads, their sizes or the numbers of sequences differ.
    #[track_caller]
    pub fn append(self, next: Self) -> Self {
        let [batch, heads, _, d_head] = next.key.dims();
        let past = self.expand(batch);
        assert_shape!(past.key, [batch, heads, _, d_head]);
        let cat = |past: Tensor<4>, next: Tensor<4>| {
            let past = past.cast(next.dtype());
            Tensor::cat(vec![past, next], 2)
        };
        Self {
            key: cat(past.key, next.key),
            value: cat(past.value, next.value),
        }
    }

    /// Repeats one sequence; others stay as they are.
    pub(super) fn expand(self, batch: usize) -> Self {
        match self.key.dims() {
            [1, heads, positions, d_head] if batch != 1 => {
                let expand = |x: Tensor<4>| x.expand([batch, heads, positions, d_head]);
                Self {
                    key: expand(self.key),
                    value: expand(self.value),
                }
            }
            _ => self,
        }
    }
}
