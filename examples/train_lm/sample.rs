//! Text that a trained model goes on with.

use bitnet_burn::nn::{BitNetLm, Projection};
use burn::tensor::{Device, Int, Tensor, TensorData, activation::softmax};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    data::{CONTEXT, Corpus},
    options::Options,
};

/// Below 1 the likelier characters become likelier still.
const TEMPERATURE: f32 = 0.8;
/// Characters of a sample.
const LENGTH: usize = 300;

/// Prints how the model goes on from the first characters of the validation text.
pub fn print<P: Projection>(model: &BitNetLm<P>, corpus: &Corpus, options: &Options) {
    let text = |tokens: &[u32]| -> String {
        let character = |&token: &u32| corpus.vocabulary[token as usize];
        tokens.iter().map(character).collect()
    };
    let prompt = corpus.prompt();
    let tokens = sample(model, &prompt, LENGTH, options.seed, &options.device);
    println!("--- prompt\n{}", text(&prompt));
    println!("--- sample\n{}\n---", text(&tokens));
}

/// `length` characters after `prompt`, drawn one after the other.
fn sample<P: Projection>(
    model: &BitNetLm<P>,
    prompt: &[u32],
    length: usize,
    seed: u64,
    device: &Device,
) -> Vec<u32> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut tokens = prompt.to_vec();
    for _ in 0..length {
        let window: Vec<i32> = tokens[tokens.len().saturating_sub(CONTEXT)..]
            .iter()
            .map(|&token| token as i32)
            .collect();
        let positions = window.len();
        let input = TensorData::new(window, [1, positions]);
        let logits = model.forward(Tensor::<2, Int>::from_data(input, device));
        let last = logits.narrow(1, positions - 1, 1).div_scalar(TEMPERATURE);
        let probabilities = softmax(last, 2).into_data().try_to_vec::<f32>();
        tokens.push(draw(&probabilities.expect("f32 logits"), rng.random()));
    }
    tokens.split_off(prompt.len())
}

/// The first token at which the sum of probabilities reaches `threshold`.
fn draw(probabilities: &[f32], threshold: f32) -> u32 {
    let mut sum = 0.0;
    let reached = probabilities.iter().position(|p| {
        sum += p;
        sum >= threshold
    });
    // The sum may stay a rounding error below 1.
    reached.unwrap_or(probabilities.len() - 1) as u32
}
