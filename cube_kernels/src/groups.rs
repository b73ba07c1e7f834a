//! Division of a tensor into groups that share one scale.

/// A contiguous tensor viewed as `[outer, size, inner]`: all `size` values at one `(outer, inner)`
/// position form a group, and each group has one scale.
///
/// Scales of a tensor are stored as `[outer, inner]`, row-major. The usual granularities:
///
/// | tensor | granularity | outer | size | inner |
/// |---|---|---|---|---|
/// | any, `n` values | per tensor | 1 | `n` | 1 |
/// | activations `[.., d]` | per token | tokens | `d` | 1 |
/// | linear weight `[d_input, d_output]` | per output channel | 1 | `d_input` | `d_output` |
/// | linear weight `[d_input, d_output]` | groups of `g` input features | `d_input / g` | `g` | `d_output` |
/// | convolution weight `[out, in, k..]` | per output channel | out | `in * k..` | 1 |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Groups {
    /// Number of consecutive blocks of `size * inner` values.
    pub outer: usize,
    /// Number of values in a group.
    pub size: usize,
    /// Distance between two neighboring values of a group.
    pub inner: usize,
}

impl Groups {
    /// Creates one group for all `num_elements` values.
    pub fn per_tensor(num_elements: usize) -> Self {
        Self {
            outer: 1,
            size: num_elements,
            inner: 1,
        }
    }

    /// Creates one group for each row of the last dimension.
    ///
    /// # Panics
    ///
    /// If `shape` is empty: a scalar has no last dimension.
    pub fn per_row(shape: &[usize]) -> Self {
        let (size, rows) = shape
            .split_last()
            .expect("per-row groups need a tensor of rank 1 or more, got a scalar");
        Self {
            outer: rows.iter().product(),
            size: *size,
            inner: 1,
        }
    }

    /// Creates groups of `group_size` neighboring positions along `axis`, for each position of the
    /// other dimensions.
    ///
    /// # Panics
    ///
    /// If `axis` is not a dimension of `shape`, or `group_size` does not divide its length.
    #[track_caller]
    pub fn along_axis(shape: &[usize], axis: usize, group_size: usize) -> Self {
        assert!(
            axis < shape.len(),
            "axis {axis} is out of range for a tensor of shape {shape:?}"
        );
        let length = shape[axis];
        assert!(
            group_size > 0 && length.is_multiple_of(group_size),
            "group_size {group_size} does not divide the {length} values along axis {axis} of shape {shape:?}"
        );
        let before: usize = shape[..axis].iter().product();
        Self {
            outer: before * (length / group_size),
            size: group_size,
            inner: shape[axis + 1..].iter().product(),
        }
    }

    /// Returns the number of values in the tensor.
    pub fn num_elements(&self) -> usize {
        self.outer * self.size * self.inner
    }

    /// Returns the number of groups, which is the number of scales.
    pub fn num_groups(&self) -> usize {
        self.outer * self.inner
    }

    /// Returns the shape `[outer, inner]` of the tensor of scales.
    pub fn scale_shape(&self) -> [usize; 2] {
        [self.outer, self.inner]
    }

    /// Returns the index of the scale of the value at `position` of the flattened tensor.
    #[inline]
    pub fn scale_index(&self, position: usize) -> usize {
        position / (self.size * self.inner) * self.inner + position % self.inner
    }

    /// Panics with the sizes unless the groups cover `shape` exactly.
    #[track_caller]
    pub fn assert_cover(&self, shape: &[usize]) {
        let expected: usize = shape.iter().product();
        assert!(
            self.num_elements() == expected,
            "groups {self:?} cover {} values, the tensor of shape {shape:?} has {expected}",
            self.num_elements()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_weight_in_groups_of_input_features_scales_each_output_apart() {
        let groups = Groups::along_axis(&[4, 3], 0, 2);
        assert_eq!(groups.scale_shape(), [2, 3]);
        // Row 2 is the first of the second group; column 1 has its own scale.
        assert_eq!(groups.scale_index(2 * 3 + 1), 3 + 1);
    }

    #[test]
    fn the_first_dimension_as_channel_gives_contiguous_groups() {
        let weight = [5, 2, 3, 3];
        let groups = Groups::along_axis(&[5, 18], 1, 18);
        assert_eq!(groups.outer, 5);
        assert_eq!(groups.inner, 1);
        groups.assert_cover(&weight);
    }

    #[test]
    #[should_panic(expected = "group_size 3 does not divide the 4 values along axis 0")]
    fn a_group_size_that_leaves_a_rest_is_refused() {
        Groups::along_axis(&[4, 3], 0, 3);
    }
}
