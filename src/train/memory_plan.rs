use std::fmt;

use bitnet_burn_kernels::BLOCK;
use burn::{
    config::Config,
    module::{ModuleVisitor, Param},
    tensor::{Bool, DType, Int, Tensor},
};

use crate::{
    base::distinct::visit_distinct,
    nn::{BitNetLm, Projection},
    optim::AdamW8bitConfig,
};

/// What an optimizer keeps of each parameter.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptimizerStates {
    /// Nothing: SGD without momentum.
    None,
    /// Two moments in `f32`: [`AdamW`](burn::optim::AdamW).
    AdamW,
    /// Two moments of 8 bits with a scale for each 256 values, in `f32` for small parameters:
    /// [`AdamW8bit`](crate::optim::AdamW8bit).
    AdamW8bit,
}

/// Configuration of a [`MemoryPlan`]: how a model is trained.
#[derive(Config, Debug)]
pub struct MemoryPlanConfig {
    /// Sequences of a batch.
    pub batch: usize,
    /// Positions of a sequence.
    pub positions: usize,
    /// What the optimizer keeps.
    #[config(default = "OptimizerStates::AdamW")]
    pub optimizer: OptimizerStates,
    /// Bytes of states that a [`PagedOptimizer`](crate::optim::PagedOptimizer) leaves in memory; `None`
    /// for all.
    pub page_budget: Option<u64>,
}

/// The memory that a training step of a [`BitNetLm`] takes: bytes of tensors.
///
/// Activations are counted by what each layer keeps for its gradients: BitNet projections the codes
/// of their input, full-precision ones the input itself. They and the gradients are not there at the
/// same time: the first are given up, layer by layer, as the others come. So the peak is
///
/// ```text
/// weights + optimizer + max(activations + 1.5 largest activation,
///                           gradients + activations / (2 layers) + largest weight in f32)
/// ```
///
/// where weights that are not `f32` are cast to it once more. A process takes more than its tensors:
/// its code, about 25 MiB, and what its allocator keeps of what was freed: some percent with that of
/// the C library, 15 to 40 percent with mimalloc.
///
/// It is for models whose layers run as they are, without gradient checkpointing or fusion of
/// operations, on Flex: other backends also have the scores of one layer's attention at a time.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     nn::{BitNetLm, BitNetLmConfig},
///     train::{MemoryPlanConfig, OptimizerStates},
/// };
/// use burn::tensor::Device;
///
/// let device = Device::default().autodiff();
/// let model: BitNetLm = BitNetLmConfig::new(256, 64, 2, 4, 192).init(&device);
/// let plan = MemoryPlanConfig::new(8, 128)
///     .with_optimizer(OptimizerStates::AdamW8bit)
///     .plan(&model);
/// println!("{plan}");
/// assert!(plan.peak > plan.weights + plan.optimizer + plan.activations);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Parameters, and other tensors of the model.
    pub weights: usize,
    /// Gradients of all parameters that are trained.
    pub gradients: usize,
    /// States of the optimizer in memory.
    pub optimizer: usize,
    /// What the forward pass keeps for the gradients.
    pub activations: usize,
    /// The most that is there at a time.
    pub peak: usize,
}

impl MemoryPlanConfig {
    /// The memory that training `model` takes.
    pub fn plan<P: Projection>(&self, model: &BitNetLm<P>) -> MemoryPlan {
        let mut parameters = Parameters {
            optimizer: self.optimizer,
            weights: 0,
            gradients: 0,
            states: 0,
            largest_state: 0,
            largest: 0,
            largest_casts: 0,
        };
        visit_distinct(model, &mut parameters);
        let activations = model.saved_bytes(self.batch, self.positions);
        let optimizer = match self.page_budget {
            None => parameters.states,
            // The state of the parameter that steps, and of the next.
            Some(budget) => parameters
                .states
                .min((budget as usize).saturating_add(2 * parameters.largest_state)),
        };
        let largest_activation = model.largest_activation_bytes(self.batch, self.positions);
        let layers = model.model.layers.len().max(1);
        let forward = activations + largest_activation * 3 / 2;
        let backward = parameters.gradients
            + activations / (2 * layers)
            + parameters.largest
            + parameters.largest_casts;
        MemoryPlan {
            weights: parameters.weights,
            gradients: parameters.gradients,
            optimizer,
            activations,
            peak: parameters.weights + optimizer + forward.max(backward),
        }
    }
}

/// Adds up the parameters of a model.
struct Parameters {
    optimizer: OptimizerStates,
    weights: usize,
    gradients: usize,
    states: usize,
    largest_state: usize,
    /// The largest weight in `f32`.
    largest: usize,
    /// Casts to `f32` of the largest weight that is not.
    largest_casts: usize,
}

impl OptimizerStates {
    /// Bytes of the states of a parameter of `n` values.
    fn bytes(self, n: usize) -> usize {
        match self {
            Self::None => 0,
            Self::AdamW8bit if n >= AdamW8bitConfig::new().min_8bit_size => {
                2 * (n + 4 * n.div_ceil(BLOCK))
            }
            Self::AdamW | Self::AdamW8bit => 2 * 4 * n,
        }
    }
}

impl ModuleVisitor for Parameters {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let n = value.shape().num_elements();
        let bytes = n * value.dtype().size();
        self.weights += bytes;
        self.largest = self.largest.max(4 * n);
        if value.dtype() != DType::F32 {
            self.largest_casts = self.largest_casts.max(4 * n);
        }
        if value.is_require_grad() {
            self.gradients += bytes;
            let state = self.optimizer.bytes(n);
            self.states += state;
            self.largest_state = self.largest_state.max(state);
        }
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        let value = param.val();
        self.weights += value.shape().num_elements() * value.dtype().size();
    }

    fn visit_bool<const D: usize>(&mut self, param: &Param<Tensor<D, Bool>>) {
        self.weights += param.val().shape().num_elements();
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("peak", self.peak),
        ];
        let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
        writeln!(f, "{:<12} {:>9}", "memory", "MiB")?;
        for (i, (name, bytes)) in rows.into_iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{name:<12} {:>9.1}", mib(bytes))?;
        }
        Ok(())
    }
}
