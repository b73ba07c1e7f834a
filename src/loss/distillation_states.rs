use burn::tensor::{Bool, Int, Tensor};

use super::{AttentionStates, TopKLogits, token_mean::flat_mask};

/// Outputs of a student's forward pass. Only those that an enabled part reads are required.
#[derive(Debug, Clone)]
pub struct StudentStates {
    /// Logits `[batch, positions, vocab]`.
    pub logits: Tensor<3>,
    /// Hidden states of one layer, `[batch, positions, d_student]`.
    pub hidden: Option<Tensor<3>>,
    /// Queries, keys and values of one layer.
    pub attention: Option<AttentionStates>,
    /// Padding mask, `[batch, positions]`: true where a position is ignored in all parts.
    pub mask_pad: Option<Tensor<2, Bool>>,
}

/// Teacher's logits: all, or only the largest.
#[derive(Debug, Clone)]
#[non_exhaustive]
// Created once per step; boxing would not pay off.
#[allow(clippy::large_enum_variant)]
pub enum TeacherLogits {
    /// Logits `[batch, positions, vocab]`.
    Full(Tensor<3>),
    /// The largest logits and the mass of the rest.
    TopK(TopKLogits),
}

/// Outputs of a teacher's forward pass. Only those that an enabled part reads are required.
#[derive(Debug, Clone, Default)]
pub struct TeacherStates {
    /// Logits.
    pub logits: Option<TeacherLogits>,
    /// Hidden states of one layer, `[batch, positions, d_teacher]`.
    pub hidden: Option<Tensor<3>>,
    /// Queries, keys and values of one layer.
    pub attention: Option<AttentionStates>,
}

impl StudentStates {
    /// Returns the padding mask of the positions of a tensor, flattened.
    #[track_caller]
    pub(super) fn flat_mask(&self, states: &Tensor<3>) -> Option<Tensor<1, Bool>> {
        let mask_pad = self.mask_pad.clone();
        mask_pad.map(|mask_pad| flat_mask(mask_pad, &states.dims()))
    }

    /// Returns the number of positions that are not padding, of shape `[1]`.
    pub(super) fn tokens(&self) -> Tensor<1, Int> {
        let [batch, positions, _] = self.logits.dims();
        match &self.mask_pad {
            Some(mask_pad) => mask_pad.clone().bool_not().int().sum(),
            None => {
                let device = self.logits.device();
                Tensor::from_data([(batch * positions) as i64], &device)
            }
        }
    }

    /// Creates states with logits `[batch, positions, vocab]` alone.
    pub fn new(logits: Tensor<3>) -> Self {
        Self {
            logits,
            hidden: None,
            attention: None,
            mask_pad: None,
        }
    }
}

impl TeacherStates {
    /// Creates states with logits `[batch, positions, vocab]` alone.
    pub fn new(logits: Tensor<3>) -> Self {
        Self {
            logits: Some(TeacherLogits::Full(logits)),
            ..Self::default()
        }
    }
}
