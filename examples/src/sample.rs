use bitnet_burn::{
    nn::{BitNetLm, Projection},
    text::{GenerationConfig, Generator},
};

use crate::{CONTEXT, Error, Text};

/// Sampling temperature; values below 1 favor likely characters.
const TEMPERATURE: f32 = 0.8;
/// Number of characters generated at a time, after as many characters of context.
const PIECE: usize = CONTEXT / 2;
/// Number of pieces of a sample.
const PIECES: u64 = 10;

/// Prints a continuation of the first characters of the validation text.
///
/// # Errors
///
/// If the logits cannot be read back from the device.
pub fn print_sample<P: Projection>(lm: &BitNetLm<P>, text: &Text, seed: u64) -> Result<(), Error> {
    let prompt = text.prompt()?;
    let mut tokens = prompt.clone();
    for piece in 0..PIECES {
        let config = GenerationConfig::new()
            .with_max_new_tokens(PIECE)
            .with_temperature(TEMPERATURE)
            .with_seed(seed.wrapping_add(piece));
        let generator = Generator::new(lm, &text.tokenizer, config)?;
        let before = tokens[tokens.len() - PIECE..].to_vec();
        for generated in generator.stream_tokens(&[before], &mut |_| {})? {
            tokens.extend(generated.tokens);
        }
    }
    let (prompt, sample) = tokens.split_at(prompt.len());
    println!("--- prompt\n{}", text.tokenizer.decode(prompt)?);
    println!("--- sample\n{}\n---", text.tokenizer.decode(sample)?);
    Ok(())
}
