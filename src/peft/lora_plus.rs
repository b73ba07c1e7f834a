use burn::{
    module::{Module, Param, ParamGroup, ParamId},
    tensor::Tensor,
};

use crate::base::path_visitor::{Field, ModulePath, PathVisitor, visit_paths};

/// Returns the parameters that [LoRA+](https://arxiv.org/abs/2402.12354) trains with a larger learning rate
/// `lr_B = ratio * lr_A`: the factors `B` of LoRA adapters, and the trained vectors (norms of DoRA, biases), as peft
/// does. Adapters of the token embedding keep the rate of the factors `A`.
///
/// The group is that of the parameters that train now: it is made after the adapter is added, for a scheduler or an
/// optimizer of the model.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     nn::{BitLinear, BitNetLm, BitNetLmConfig},
///     peft::{LoraConfig, lora_plus_group},
/// };
/// use burn::{
///     lr_scheduler::{constant::ConstantLr, module_lr_scheduler::ModuleLrScheduler},
///     tensor::Device,
/// };
///
/// let device = Device::default().autodiff();
/// let lm: BitNetLm<BitLinear> = BitNetLmConfig::new(64, 32, 1, 2, 48).init(&device);
/// let (lm, _) = lm.with_adapter("default", LoraConfig::new(4))?;
/// let (lr, ratio) = (1e-4, 16.0);
/// let rates = ModuleLrScheduler::new(ConstantLr::new(lr))
///     .with_group(lora_plus_group(&lm), ConstantLr::new(ratio * lr));
/// # Ok::<(), bitnet_burn::peft::PeftError>(())
/// ```
pub fn lora_plus_group<M: Module>(model: &M) -> ParamGroup {
    let mut faster = Faster(Vec::new());
    visit_paths(model, &mut faster);
    ParamGroup::from_ids(faster.0)
}

/// Parameters with the larger learning rate.
struct Faster(Vec<ParamId>);

impl PathVisitor for Faster {
    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let last = path.fields().last();
        let is_of = |field: &Field| match field.container.as_str() {
            "Lora" => true,
            "LowRankProduct" => path.fields()[0].name == "head_products",
            _ => false,
        };
        let is_b = last.is_some_and(|field| field.name == "b" && is_of(field));
        if param.is_require_grad() && (is_b || D == 1) {
            self.0.push(param.id);
        }
    }
}
