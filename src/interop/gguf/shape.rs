use core::fmt;

/// Most dimensions of a tensor in ggml, `GGML_MAX_DIMS`.
pub const MAX_DIMS: usize = 4;

/// Sizes of a tensor, which ggml counts from the last: the length of a row comes first.
///
/// A weight of PyTorch's shape `[out, in]` is `[in, out]` to ggml. The bytes are the same.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct GgufShape {
    /// In ggml's order; 1 above the dimensions that there are.
    sizes: [u64; MAX_DIMS],
    num_dims: usize,
}

impl GgufShape {
    /// A shape in ggml's order, the length of a row first.
    ///
    /// `None` if it has no dimension or more than four, a size of zero, or more elements than
    /// `i64::MAX`, which is what ggml counts with.
    pub fn from_ggml(sizes: &[u64]) -> Option<Self> {
        if sizes.is_empty() || sizes.len() > MAX_DIMS || sizes.contains(&0) {
            return None;
        }
        let elements = sizes
            .iter()
            .try_fold(1u64, |product, &size| product.checked_mul(size))?;
        i64::try_from(elements).ok()?;
        let mut padded = [1; MAX_DIMS];
        padded[..sizes.len()].copy_from_slice(sizes);
        Some(Self {
            sizes: padded,
            num_dims: sizes.len(),
        })
    }

    /// A shape as PyTorch and Burn write it, the length of a row last.
    ///
    /// `None` as [`from_ggml`](Self::from_ggml).
    pub fn from_row_major(sizes: &[usize]) -> Option<Self> {
        let reversed: Vec<u64> = sizes.iter().rev().map(|&size| size as u64).collect();
        Self::from_ggml(&reversed)
    }

    /// The sizes, the length of a row first.
    pub fn ggml(&self) -> &[u64] {
        &self.sizes[..self.num_dims]
    }

    /// The sizes as PyTorch and Burn write them, the length of a row last.
    pub fn row_major(&self) -> Vec<usize> {
        let sizes = self.ggml().iter().rev();
        sizes.map(|&size| size as usize).collect()
    }

    /// Elements of a row.
    pub fn row_len(&self) -> u64 {
        self.sizes[0]
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.sizes[1..].iter().product()
    }

    /// Number of elements.
    pub fn num_elements(&self) -> u64 {
        self.row_len() * self.rows()
    }
}

impl fmt::Debug for GgufShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ggml().fmt(f)
    }
}
