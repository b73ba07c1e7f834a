use std::fmt;

use burn::{
    config::Config,
    module::{Module, ModuleVisitor, Param},
    tensor::{Bool, DType, Int, Tensor},
};

use super::activation_memory;
use crate::{
    base::distinct::visit_distinct,
    nn::{BitNetLm, Projection},
    ops::BLOCK,
    optim::AdamW8bitConfig,
};

/// Optimizer states per parameter.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptimizerStates {
    /// None: SGD without momentum.
    None,
    /// Two moments in `f32`: [`AdamW`](burn::optim::AdamW).
    AdamW,
    /// Two 8-bit moments with a scale per 256 values, in `f32` for small parameters:
    /// [`AdamW8bit`](crate::optim::AdamW8bit).
    AdamW8bit,
}

/// Configuration of a [`MemoryPlan`].
#[derive(Config, Debug)]
pub struct MemoryPlanConfig {
    /// Number of sequences per batch.
    pub batch: usize,
    /// Number of positions per sequence.
    pub positions: usize,
    /// States of the optimizer.
    #[config(default = "OptimizerStates::AdamW")]
    pub optimizer: OptimizerStates,
    /// Bytes of states that a [`PagedOptimizer`](crate::optim::PagedOptimizer) keeps in memory;
    /// `None` for all.
    pub page_budget: Option<u64>,
    /// `true` if a step computes each layer again in the backward pass
    /// ([`LanguageModel::with_gradient_checkpointing`](super::LanguageModel::with_gradient_checkpointing)).
    #[config(default = false)]
    pub gradient_checkpointing: bool,
}

/// Memory of a training step of a [`BitNetLm`]: bytes of tensors.
///
/// Activations are those that each layer saves for backward: the codes of the input for BitNet
/// projections, the input itself for full-precision ones. Activations are released layer by layer
/// while the gradients are computed, so both are never complete at the same time. The peak is
///
/// ```text
/// weights + optimizer + max(activations + 1.5 largest activation + largest input computed again,
///                           gradients + activations / (2 layers) + largest weight in f32)
/// ```
///
/// where weights that are not `f32` are cast to it in addition. A process needs more than its
/// tensors: its code, about 25 MiB, and memory that its allocator retains after it was freed: a few
/// percent for that of the C library, 15 to 40 percent for mimalloc.
///
/// With gradient checkpointing the activations are the inputs of all layers and what one layer or the head saves, and
/// the peak is
///
/// ```text
/// weights + optimizer + max(inputs + those of the head + 1.5 logits,
///                           max(inputs + gradients outside of the layers, gradients) + those of a layer
///                               + 4 outputs of a layer + 3 largest activations of a layer
///                               + largest input computed again + largest weight in f32)
/// ```
///
/// Applies to models without Burn's own gradient checkpointing or fusion of operations, on Flex: other
/// backends also hold the scores of one layer's attention at a time.
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
    /// Parameters and other tensors of the model.
    pub weights: usize,
    /// Gradients of all trained parameters.
    pub gradients: usize,
    /// Optimizer states in memory.
    pub optimizer: usize,
    /// Activations saved for backward.
    pub activations: usize,
    /// Peak memory.
    pub peak: usize,
}

impl MemoryPlanConfig {
    /// Returns the memory required for training `model`.
    pub fn plan<P: Projection>(&self, model: &BitNetLm<P>) -> MemoryPlan {
        let parameters = Parameters::of(model, self.optimizer);
        let optimizer = match self.page_budget {
            None => parameters.states,
            // State of the parameter that is stepped, and of the next one.
            Some(budget) => parameters
                .states
                .min((budget as usize).saturating_add(2 * parameters.largest_state)),
        };
        let [activations, step] = match self.gradient_checkpointing {
            true => self.in_parts(model, &parameters),
            false => self.at_once(model, &parameters),
        };
        MemoryPlan {
            weights: parameters.weights,
            gradients: parameters.gradients,
            optimizer,
            activations,
            peak: parameters.weights + optimizer + step,
        }
    }

    /// Returns the activations of a step with one graph, and the peak of activations and gradients.
    fn at_once<P: Projection>(&self, model: &BitNetLm<P>, parameters: &Parameters) -> [usize; 2] {
        let activations = activation_memory::saved_bytes(model, self.batch, self.positions);
        let largest_activation =
            activation_memory::largest_bytes(model, self.batch, self.positions);
        let layers = model.model.layers.len().max(1);
        let again = activation_memory::recomputed_bytes(model, self.batch * self.positions);
        let forward = activations + largest_activation * 3 / 2 + again;
        let backward = parameters.gradients
            + activations / (2 * layers)
            + parameters.largest
            + parameters.largest_casts;
        [activations, forward.max(backward)]
    }

    /// Returns those of a step with gradient checkpointing.
    fn in_parts<P: Projection>(&self, model: &BitNetLm<P>, parameters: &Parameters) -> [usize; 2] {
        let tokens = self.batch * self.positions;
        let inputs = activation_memory::of_inputs(model, tokens);
        let of_head = activation_memory::of_head(model, tokens);
        let of_layer = activation_memory::of_largest_layer(model, tokens);
        let logits = activation_memory::largest_bytes(model, self.batch, self.positions);
        let head = inputs + of_head + logits * 3 / 2;
        let in_layers = Parameters::of(&model.model.layers, self.optimizer).gradients;
        let outside = parameters.gradients.saturating_sub(in_layers);
        let kept = (inputs + outside).max(parameters.gradients);
        let layer = kept
            + of_layer
            + activation_memory::of_root(model, tokens)
            + activation_memory::largest_in_layers(model, tokens) * 3
            + activation_memory::recomputed_bytes(model, tokens)
            + parameters.largest
            + parameters.largest_casts;
        [inputs + of_head.max(of_layer), head.max(layer)]
    }
}

/// Sums over the parameters of a model.
struct Parameters {
    optimizer: OptimizerStates,
    weights: usize,
    gradients: usize,
    states: usize,
    largest_state: usize,
    /// Largest weight, in `f32`.
    largest: usize,
    /// Size of the `f32` cast of the largest weight of another type.
    largest_casts: usize,
}

impl Parameters {
    /// Sums up those of a module.
    fn of<M: Module>(module: &M, optimizer: OptimizerStates) -> Self {
        let mut parameters = Self {
            optimizer,
            weights: 0,
            gradients: 0,
            states: 0,
            largest_state: 0,
            largest: 0,
            largest_casts: 0,
        };
        visit_distinct(module, &mut parameters);
        parameters
    }
}

impl OptimizerStates {
    /// Returns the bytes of the states of a parameter of `n` values.
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
