/// Coefficients of one step of AdamW, each computed in `f64` from the configuration and rounded once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWStep {
    /// Decay rate of the first moment.
    pub beta_1: f32,
    /// Weight of the gradient in the first moment, `1 - beta_1`.
    pub one_minus_beta_1: f32,
    /// Decay rate of the second moment.
    pub beta_2: f32,
    /// Weight of the squared gradient in the second moment, `1 - beta_2`.
    pub one_minus_beta_2: f32,
    /// Factor of the decoupled weight decay, `1 - lr * weight_decay`.
    pub decay: f32,
    /// Bias-corrected learning rate, `lr / (1 - beta_1^t)`.
    pub step_size: f32,
    /// Bias correction of the second moment, `sqrt(1 - beta_2^t)`.
    pub bias_correction_2: f32,
    /// Value added to the denominator.
    pub epsilon: f32,
}

/// Coefficients of one step of AdamW in the order and precision of Burn's optimizer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FusedAdamWStep {
    /// The moments are zero before, and are not read.
    pub is_first: bool,
    /// Decay rate of the first moment.
    pub beta_1: f32,
    /// Decay rate of the second moment.
    pub beta_2: f32,
    /// Bias correction of the first moment, `1 - beta_1^t`.
    pub bias_correction_1: f32,
    /// Bias correction of the second moment, `1 - beta_2^t`.
    pub bias_correction_2: f32,
    /// Factor of the decoupled weight decay, `1 - lr * weight_decay`.
    pub decay: f32,
    /// Learning rate.
    pub lr: f32,
    /// Value added to the denominator.
    pub epsilon: f32,
}
