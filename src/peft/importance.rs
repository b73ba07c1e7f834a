use burn::tensor::{DType, Device, Tensor};

/// Moving averages of the importance of the values of a parameter, in `f32`.
///
/// With `I = |p g|` of a value `p` and its gradient `g`,
///
/// ```text
/// m <- beta1 m + (1 - beta1) I
/// u <- beta2 u + (1 - beta2) |I - m|
/// ```
///
/// and the score of the value is `m u`: importance times its uncertainty.
///
/// Source: [AdaLoRA](https://arxiv.org/abs/2303.10512), equations 8 to 10.
#[derive(Debug, Clone)]
pub(super) struct Importance<const D: usize> {
    /// Average `m` of the importance.
    pub mean: Tensor<D>,
    /// Average `u` of its uncertainty.
    pub uncertainty: Tensor<D>,
}

impl<const D: usize> Importance<D> {
    /// Creates averages of zero.
    pub fn zeros(shape: [usize; D], device: &Device) -> Self {
        let zeros = Tensor::zeros(shape, (device, DType::F32));
        Self {
            mean: zeros.clone(),
            uncertainty: zeros,
        }
    }

    /// Updates the averages with the value after a step of the optimizer, and the gradient of the step; without a
    /// gradient the importance is zero.
    pub fn update(&mut self, value: Tensor<D>, grad: Option<Tensor<D>>, [beta1, beta2]: [f64; 2]) {
        let importance = match grad {
            Some(grad) => (value.cast(DType::F32) * grad.cast(DType::F32)).abs(),
            None => self.mean.zeros_like(),
        };
        let mean = self.mean.clone() * beta1 + importance.clone() * (1.0 - beta1);
        let distance = (importance - mean.clone()).abs();
        self.uncertainty = self.uncertainty.clone() * beta2 + distance * (1.0 - beta2);
        self.mean = mean;
    }

    /// Returns the score of each value.
    pub fn score(&self) -> Tensor<D> {
        self.mean.clone() * self.uncertainty.clone()
    }
}

/// Importance of the directions of an adapter.
#[derive(Debug, Clone)]
pub(super) struct DirectionImportance {
    /// Of `A: [d_input, rank]`.
    pub a: Importance<2>,
    /// Of `E: [rank]`.
    pub e: Importance<1>,
    /// Of `B: [rank, d_output]`.
    pub b: Importance<2>,
}

impl DirectionImportance {
    /// Creates averages of zero for the shapes of `A` and `B`.
    pub fn zeros(a: [usize; 2], b: [usize; 2], device: &Device) -> Self {
        Self {
            a: Importance::zeros(a, device),
            e: Importance::zeros([a[1]], device),
            b: Importance::zeros(b, device),
        }
    }

    /// Returns the score of each direction, `[rank]`: that of its value in `E`, and the means of its values in `A`
    /// and `B`.
    pub fn scores(&self) -> Tensor<1> {
        let a: Tensor<1> = self.a.score().mean_dim(0).squeeze_dim(0);
        let b: Tensor<1> = self.b.score().mean_dim(1).squeeze_dim(1);
        self.e.score() + (a + b)
    }
}
