//! Prompts of language models: decoding against the forward pass, gradients, limits and records.

use bitnet_burn::nn::{
    BitLinear, BitNetLm, BitNetLmConfig, KvCacheConfig, KvCacheDType, Projection, Prompt,
    PromptEncoder, TrainableProjection,
};
use burn::{
    module::{Module, ModuleMapper, Param},
    nn::Linear,
    tensor::{DType, Device, Int, Tensor},
};

use crate::support::values::*;

const LAYERS: usize = 2;
const MODEL: usize = 32;
/// Size of the key heads.
const KEYS: usize = 16;
const VIRTUAL: usize = 3;

/// A model of 16 positions without a prompt; groups of two query heads share a key head.
fn lm<P: TrainableProjection>(device: &Device) -> BitNetLm<P> {
    let config = BitNetLmConfig::new(50, MODEL, LAYERS, 4, 48)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16);
    config.init(device).map(&mut Drawn::new(1, 0.2))
}

fn values(d: usize, device: &Device) -> Tensor<2> {
    let values = normal(VIRTUAL * d, 7).into_iter().map(|v| 10.0 * v);
    tensor(
        &values.collect::<Vec<_>>(),
        [VIRTUAL, d],
        DType::F32,
        device,
    )
}

/// A prompt of each method.
fn prompts(device: &Device) -> [Prompt; 4] {
    let d_prefix = 2 * LAYERS * KEYS;
    let encoded = |prompt: Prompt, encoder: PromptEncoder| {
        prompt.with_encoder(encoder.map(&mut Drawn::new(3, 0.3)))
    };
    [
        Prompt::prefix("prefix", values(d_prefix, device)),
        encoded(
            Prompt::prefix("projected prefix", values(KEYS, device)),
            PromptEncoder::prefix([KEYS, 6, d_prefix], device),
        ),
        Prompt::input("prompt", values(MODEL, device)),
        encoded(
            Prompt::input("p-tuning", values(MODEL, device)),
            PromptEncoder::p_tuning(MODEL, 6, device),
        ),
    ]
}

fn prompted<P: Projection>(mut lm: BitNetLm<P>, prompt: &Prompt) -> BitNetLm<P> {
    lm.model.prompt = Some(prompt.clone());
    lm
}

/// Different tokens in each sequence.
fn tokens(batch: usize, positions: usize, device: &Device) -> Tensor<2, Int> {
    let tokens = (0..(batch * positions) as i32).map(|i| (i * 7 + i * i) % 50);
    let tokens: Vec<i32> = tokens.collect();
    Tensor::<1, Int>::from_ints(tokens.as_slice(), device).reshape([batch, positions])
}

/// Compares decoding in pieces with the forward pass, with two caches of which one is truncated in between.
fn check_decoding<P: Projection>(lm: &BitNetLm<P>, dtype: KvCacheDType, bound: f64, what: &str) {
    let device = Device::default();
    let tokens = tokens(3, 8, &device);
    let whole = lm.forward(tokens.clone());
    assert_eq!(whole.dims(), [3, 8, 50]);
    for pieces in [&[8][..], &[1; 8], &[5, 1, 2]] {
        let mut cache = KvCacheConfig::new(3, 8).with_dtype(dtype).init(lm);
        // What is decoded before a truncation to nothing leaves no trace.
        lm.decode(tokens.clone().flip([1]), &mut cache);
        cache.truncate(0);
        for &piece in pieces {
            let part = |start| tokens.clone().narrow(1, start, piece);
            let start = cache.len();
            let logits = floats(lm.decode(part(start), &mut cache));
            let expected = floats(whole.clone().narrow(1, start + piece - 1, 1));
            let what = format!("{what}, pieces {pieces:?}, position {}", cache.len());
            assert_within(&logits, &expected, |_| bound, &what);
            if start > 0 {
                cache.truncate(start);
                assert_equal(&floats(lm.decode(part(start), &mut cache)), &logits, &what);
            }
        }
        assert_eq!(cache.len(), 8);
    }
}

#[test]
fn decoding_after_a_prompt_gives_the_logits_of_the_forward_pass() {
    let device = Device::default();
    let base = lm::<Linear>(&device);
    let without = floats(base.forward(tokens(3, 8, &device)));
    for prompt in prompts(&device) {
        let lm = prompted(base.clone(), &prompt);
        let logits = floats(lm.forward(tokens(3, 8, &device)));
        // Larger than the bound below, and so than an error that it does not see.
        assert!(largest_error(&logits, &without) > 0.1, "{}", prompt.name());
        // The bounds of decoding without a prompt.
        check_decoding(&lm, KvCacheDType::F32, 2e-5, prompt.name());
        check_decoding(&lm, KvCacheDType::Int8, 0.05, prompt.name());
    }
}

#[test]
fn packed_weights_compute_with_a_prompt_what_latent_ones_do() {
    let device = Device::default();
    for prompt in prompts(&device) {
        let lm = prompted(lm::<BitLinear>(&device), &prompt);
        let packed = lm.pack();
        let (expected, logits) = (
            floats(lm.forward(tokens(2, 8, &device))),
            floats(packed.forward(tokens(2, 8, &device))),
        );
        if on_cpu_library() {
            assert_equal(&logits, &expected, prompt.name());
        } else {
            // Another summation order may change a code of an activation.
            assert_within(&logits, &expected, |_| 0.05, prompt.name());
        }
    }
}

#[test]
fn a_prompt_that_is_off_or_folded_changes_nothing() {
    let device = Device::default();
    let base = lm::<Linear>(&device);
    let logits = |lm: &BitNetLm<Linear>| floats(lm.forward(tokens(2, 5, &device)));
    for prompt in prompts(&device) {
        let off = prompted(base.clone(), &prompt.clone().with_active(false));
        assert_equal(&logits(&off), &logits(&base), prompt.name());
        assert_eq!((off.model.n_virtual(), off.model.max_tokens()), (0, 16));

        let folded = prompt.clone().with_values(prompt.values());
        assert!(folded.encoder.is_none());
        assert_equal(
            &logits(&prompted(base.clone(), &folded)),
            &logits(&prompted(base.clone(), &prompt)),
            prompt.name(),
        );
    }
}

/// Multiplies the parameters of a prompt by `1 + step * direction`.
struct Moved {
    step: f32,
    seed: u64,
    /// Directions of the parameters, times their values.
    directions: Vec<Vec<f32>>,
}

impl ModuleMapper for Moved {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        self.seed += 1;
        param.map(|value| {
            let value = value.detach().set_require_grad(false);
            let direction = normal(value.shape().num_elements(), self.seed);
            let direction: Tensor<D> =
                tensor(&direction, value.dims(), value.dtype(), &value.device());
            let moved = value.clone() * direction;
            self.directions.push(floats(moved.clone()));
            (value + moved * self.step).set_require_grad(true)
        })
    }
}

fn moved(prompt: &Prompt, step: f32) -> (Prompt, Vec<Vec<f32>>) {
    let mut moved = Moved {
        step,
        seed: 20,
        directions: Vec::new(),
    };
    (prompt.clone().map(&mut moved), moved.directions)
}

/// Gradients of the float parameters in their order.
struct Gradients<'a>(&'a burn::tensor::Gradients, Vec<Vec<f32>>);

impl burn::module::ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let grad = param.val().grad(self.0);
        self.1.push(grad.map(floats).unwrap_or_default());
    }
}

#[test]
fn gradients_of_prompts_are_those_of_finite_differences() {
    let device = Device::default().autodiff();
    let base = lm::<Linear>(&device).freeze();
    let loss = |prompt: &Prompt| {
        let lm = prompted(base.clone(), prompt);
        lm.forward(tokens(2, 6, &device)).square().mean()
    };
    for prompt in prompts(&device) {
        let (at, directions) = moved(&prompt, 0.0);
        let grads = loss(&at).backward();
        let mut gradients = Gradients(&grads, Vec::new());
        at.visit(&mut gradients);
        assert_eq!(gradients.1.len(), directions.len());
        let products = gradients.1.iter().zip(&directions).flat_map(|(g, d)| {
            assert_eq!(
                g.len(),
                d.len(),
                "{}: a parameter without a gradient",
                prompt.name()
            );
            g.iter().zip(d).map(|(g, d)| f64::from(g * d))
        });
        let slope: f64 = products.sum();
        // Directions are of size 0.1, so that values move by 1 %: the error of the difference, of the second
        // order, is about 1e-4 of the loss; that of rounding 1e-7 / 0.2 of it.
        let step = 0.1;
        let at = |step| f64::from(loss(&moved(&prompt, step).0).into_scalar::<f32>());
        let difference = (at(step) - at(-step)) / (2.0 * f64::from(step));
        let bound = 1e-2 * difference.abs().max(1e-2 * at(0.0));
        assert!(
            (slope - difference).abs() < bound,
            "{}: slope {slope}, finite difference {difference}",
            prompt.name()
        );
    }
}

#[test]
fn a_record_of_the_model_holds_its_prompt() {
    let device = Device::default();
    for prompt in prompts(&device) {
        let lm = prompted(lm::<Linear>(&device), &prompt);
        let zeros = prompt.clone().map(&mut Drawn::new(9, 0.0));
        let other = prompted(self::lm::<Linear>(&device), &zeros);
        let logits = |lm: &BitNetLm<Linear>| floats(lm.forward(tokens(2, 5, &device)));
        let expected = logits(&lm);
        assert_ne!(logits(&other), expected);
        let loaded = other.load_record(lm.into_record());
        assert_equal(&logits(&loaded), &expected, prompt.name());
    }
}

#[test]
fn a_model_has_fewer_positions_for_tokens() {
    let device = Device::default();
    for prompt in prompts(&device) {
        let lm = prompted(lm::<Linear>(&device), &prompt);
        assert_eq!((lm.model.n_virtual(), lm.model.max_tokens()), (3, 13));
        assert_eq!(lm.forward(tokens(1, 13, &device)).dims(), [1, 13, 50]);
        let mut cache = KvCacheConfig::new(1, 13).init(&lm);
        lm.decode(tokens(1, 13, &device), &mut cache);
    }
}

#[test]
#[should_panic(expected = "3 positions of a prompt and 14 of tokens go beyond max_positions 16")]
fn more_tokens_panic() {
    let device = Device::default();
    let [prefix, ..] = prompts(&device);
    prompted(lm::<Linear>(&device), &prefix).forward(tokens(1, 14, &device));
}

#[test]
#[should_panic(expected = "1 to 13 positions, got 1 and 14")]
fn a_cache_larger_than_the_model_panics() {
    let device = Device::default();
    let [prefix, ..] = prompts(&device);
    KvCacheConfig::new(1, 14).init(&prompted(lm::<Linear>(&device), &prefix));
}

#[test]
#[should_panic(
    expected = "a cache after a prompt of 0 positions is not one of a model whose prompt has 3"
)]
fn the_cache_of_another_model_panics() {
    let device = Device::default();
    let lm = lm::<Linear>(&device);
    let mut cache = KvCacheConfig::new(1, 4).init(&lm);
    let [prefix, ..] = prompts(&device);
    prompted(lm, &prefix).decode(tokens(1, 2, &device), &mut cache);
}

#[test]
#[should_panic(expected = "a key and a value of 2 heads of 8 in each of 2 layers, 64, got 32")]
fn a_prefix_of_another_model_panics() {
    let device = Device::default();
    let prefix = Prompt::prefix("short", values(32, &device));
    prompted(lm::<Linear>(&device), &prefix).forward(tokens(1, 2, &device));
}

#[test]
#[should_panic(expected = "as many values as a token, 32, got 16")]
fn embeddings_of_another_model_panic() {
    let device = Device::default();
    let prompt = Prompt::input("short", values(16, &device));
    prompted(lm::<Linear>(&device), &prompt).forward(tokens(1, 2, &device));
}
