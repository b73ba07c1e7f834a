/// Scales of a ternary tensor, `w = scale code`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TernaryScales<'a> {
    /// One for the tensor.
    Tensor(f32),
    /// One for each row.
    Rows(&'a [f32]),
}

impl TernaryScales<'_> {
    /// The scale of a row.
    pub(super) fn of_row(&self, row: usize) -> f32 {
        match self {
            Self::Tensor(scale) => *scale,
            Self::Rows(scales) => scales[row],
        }
    }
}

/// Codes -1, 0 and 1 of a tensor, row after row, and the scale of each block of them:
/// `w = scale code`.
#[derive(Debug, Clone, PartialEq)]
pub struct TernaryTensor {
    codes: Vec<i8>,
    scales: Vec<f32>,
    block_len: usize,
}

impl TernaryTensor {
    pub(super) fn with_capacity(elements: usize, block_len: usize) -> Self {
        Self {
            codes: Vec::with_capacity(elements),
            scales: Vec::with_capacity(elements / block_len),
            block_len,
        }
    }

    /// Adds a block.
    pub(super) fn push(&mut self, codes: &[i8], scale: f32) {
        self.codes.extend_from_slice(codes);
        self.scales.push(scale);
    }

    /// The codes.
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// The codes, without a copy.
    pub fn into_codes(self) -> Vec<i8> {
        self.codes
    }

    /// Scales of the blocks in their order.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// Elements of a block: 256, or all of an I2_S tensor.
    pub fn block_len(&self) -> usize {
        self.block_len
    }

    /// The scale of the tensor, if all blocks have the same.
    ///
    /// Blocks without a code other than 0 do not count, as they have any scale; if there is no
    /// other, the scale is that of the first.
    pub fn tensor_scale(&self) -> Option<f32> {
        self.common(0, self.scales.len())
    }

    /// The scale of each row of `row_len` elements, if all blocks of a row have the same; blocks of
    /// zeros as in [`tensor_scale`](Self::tensor_scale).
    ///
    /// `None`, too, if rows are not made of whole blocks, as those of I2_S.
    pub fn row_scales(&self, row_len: usize) -> Option<Vec<f32>> {
        if row_len == 0 || !row_len.is_multiple_of(self.block_len) {
            return None;
        }
        let blocks = row_len / self.block_len;
        let rows = self.scales.len() / blocks;
        (0..rows)
            .map(|row| self.common(row * blocks, blocks))
            .collect()
    }

    /// The scale that `count` blocks from `start` on have in common.
    fn common(&self, start: usize, count: usize) -> Option<f32> {
        let blocks = self.codes.chunks(self.block_len).zip(&self.scales);
        let blocks = blocks.skip(start).take(count);
        let mut scales = blocks
            .filter(|(codes, _)| codes.iter().any(|&code| code != 0))
            .map(|(_, &scale)| scale);
        let Some(first) = scales.next() else {
            return self.scales.get(start).copied();
        };
        scales.all(|scale| scale == first).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_zeros_have_any_scale() {
        let mut tensor = TernaryTensor::with_capacity(4, 1);
        for (code, scale) in [(0, 0.0), (1, 2.0), (-1, 2.0), (0, 7.0)] {
            tensor.push(&[code], scale);
        }
        assert_eq!(tensor.tensor_scale(), Some(2.0));
        assert_eq!(tensor.row_scales(2), Some(vec![2.0, 2.0]));
        assert_eq!(tensor.row_scales(1), Some(vec![0.0, 2.0, 2.0, 7.0]));
        tensor.push(&[1], 3.0);
        assert_eq!(tensor.tensor_scale(), None);
    }
}
