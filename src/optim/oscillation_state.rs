use burn::{
    optim::{RecordState, StateSink, StateSource},
    tensor::{Bool, DType, Device, Tensor},
};

/// State of the codes of one weight tensor; in the record under `oscillation`.
#[derive(Debug, Clone)]
pub struct OscillationState<const D: usize> {
    /// Number of steps tracked.
    pub steps: usize,
    /// Code of each weight after the last step; for a frozen weight, its frozen code.
    pub codes: Tensor<D>,
    /// Direction of the last flip: -1, 1, or 0 before the first.
    pub direction: Tensor<D>,
    /// Frequency `f` of the oscillation, 0 to 1.
    pub frequency: Tensor<D>,
    /// Moving average of the code.
    pub mean_code: Tensor<D>,
    /// `true` for frozen weights.
    pub frozen: Tensor<D, Bool>,
}

/// Flips, oscillations and newly frozen weights of one step.
pub(super) struct Tracked<const D: usize> {
    pub(super) flipped: Tensor<D, Bool>,
    pub(super) oscillated: Tensor<D, Bool>,
    pub(super) newly_frozen: Tensor<D, Bool>,
}

impl<const D: usize> OscillationState<D> {
    /// Creates the state of weights with these codes before the first step.
    pub(super) fn new(codes: Tensor<D>) -> Self {
        let zeros = codes.zeros_like();
        Self {
            steps: 0,
            mean_code: codes.clone(),
            codes,
            direction: zeros.clone(),
            frequency: zeros.clone(),
            frozen: zeros.greater_elem(0.0),
        }
    }

    /// Updates the state with the codes after a step, and freezes weights that oscillate above the
    /// threshold.
    pub(super) fn track(&mut self, codes: Tensor<D>, momentum: f64, threshold: f64) -> Tracked<D> {
        let mean = |value: Tensor<D>, mean: Tensor<D>| {
            value.mul_scalar(momentum) + mean.mul_scalar(1.0 - momentum)
        };
        let direction = (codes.clone() - self.codes.clone()).sign();
        let flipped = direction.clone().not_equal_elem(0.0);
        let oscillated = (direction.clone() * self.direction.clone()).equal_elem(-1.0);

        self.direction = self
            .direction
            .clone()
            .mask_where(flipped.clone(), direction);
        self.frequency = mean(oscillated.clone().float(), self.frequency.clone());
        let newly_frozen = match threshold.is_finite() {
            true => self
                .frequency
                .clone()
                .greater_elem(threshold)
                .bool_and(self.frozen.clone().bool_not()),
            false => self.frozen.zeros_like(),
        };
        self.frozen = self.frozen.clone().bool_or(newly_frozen.clone());
        self.codes = codes.mask_where(newly_frozen.clone(), self.mean_code.clone().round());
        self.mean_code = mean(self.codes.clone(), self.mean_code.clone());
        self.steps += 1;
        Tracked {
            flipped,
            oscillated,
            newly_frozen,
        }
    }

    /// Moves the state to another device.
    pub(super) fn to_device(&self, device: &Device) -> Self {
        Self {
            steps: self.steps,
            codes: self.codes.clone().to_device(device),
            direction: self.direction.clone().to_device(device),
            frequency: self.frequency.clone().to_device(device),
            mean_code: self.mean_code.clone().to_device(device),
            frozen: self.frozen.clone().to_device(device),
        }
    }
}

impl<const D: usize> RecordState for OscillationState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        out.push_scalar(prefix, "steps", self.steps.into());
        for (name, tensor) in [
            ("codes", &self.codes),
            ("direction", &self.direction),
            ("frequency", &self.frequency),
            ("mean_code", &self.mean_code),
        ] {
            out.push_tensor(prefix, name, tensor.to_data());
        }
        out.push_tensor(prefix, "frozen", self.frozen.to_data());
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let mut float = |name: &str| {
            let data = src.take_tensor(prefix, name)?;
            Some(Tensor::from_data(data, (device, DType::F32)))
        };
        Some(Self {
            codes: float("codes")?,
            direction: float("direction")?,
            frequency: float("frequency")?,
            mean_code: float("mean_code")?,
            frozen: Tensor::from_data(src.take_tensor(prefix, "frozen")?, device),
            steps: src.take_scalar(prefix, "steps")?.try_into().ok()?,
        })
    }
}
