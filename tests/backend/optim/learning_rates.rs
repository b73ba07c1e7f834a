//! Separate learning rates for scales and weights, by Burn's own groups.

use bitnet_burn::optim::{QatOptimizerConfig, TwoStageLrSchedulerConfig};
use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLrScheduler,
    module::{Module, Param, ParamGroup, Reparameterization, Reparameterizer},
    nn::LinearConfig,
    optim::{GradientsParams, ModuleOptimizer, SgdConfig},
    tensor::{Device, Tensor},
};

use crate::support::values::*;

/// A reparameterization with a learned step size.
#[derive(Module, Debug)]
struct StepSize {
    step: Param<Tensor<1>>,
}

impl Reparameterization for StepSize {
    const NAME: &'static str = "fake_quant";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        base * self.step.val().reshape([1; D])
    }
}

struct AttachStepSize;

impl Reparameterizer for AttachStepSize {
    type Reparam = StepSize;

    fn reparameterize<const D: usize>(
        &mut self,
        path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<StepSize>) {
        let step = Tensor::ones([1], &param.lazy_device());
        let step_size = StepSize {
            step: Param::from_tensor(step),
        };
        (param, (path == "weight").then_some(step_size))
    }
}

#[test]
fn a_group_of_the_scheduler_gives_step_sizes_their_own_learning_rate() {
    let device = Device::default().autodiff();
    let layer = LinearConfig::new(2, 2)
        .init(&device)
        .apply_reparameterization(AttachStepSize);
    let schedule = |scale: f64| {
        let config = TwoStageLrSchedulerConfig::new(scale, scale / 2.0, 10);
        config.with_warmup_steps(0).init()
    };
    let steps = ParamGroup::from_regex(r"\.fake_quant\.step$").unwrap();
    let mut scheduler = ModuleLrScheduler::new(schedule(1.0)).with_group(steps, schedule(0.125));
    let inner = SgdConfig::new().build();
    let mut optimizer = ModuleOptimizer::from(QatOptimizerConfig::new().build(inner));

    let step_of = |layer: &burn::nn::Linear| {
        let step_size = layer.weight.reparameterization::<StepSize>().unwrap();
        (step_size.step.id, floats(step_size.step.val())[0])
    };
    let (step_id, step_before) = step_of(&layer);
    let weight_before = floats(layer.weight.base());
    let mut grads = GradientsParams::new();
    let ones = Tensor::<2>::ones([2, 2], &device.clone().inner());
    grads.register(layer.weight.id, ones);
    grads.register(step_id, Tensor::<1>::ones([1], &device.inner()));
    let layer = optimizer.step(scheduler.step(), layer, grads);

    assert_eq!(step_of(&layer).1, step_before - 0.125);
    let expected: Vec<f32> = weight_before.iter().map(|w| w - 1.0).collect();
    assert_equal(&floats(layer.weight.base()), &expected, "weight");
}
