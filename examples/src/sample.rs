use bitnet_burn::{
    nn::{BitNetLm, Projection},
    text::{GenerationConfig, Generator},
};

use crate::{CONTEXT, Error, Text};

/// Below 1 the likelier characters become likelier still.
const TEMPERATURE: f32 = 0.8;
/// Characters that are generated at a time, after as many before them.
const PIECE: usize = CONTEXT / 2;
/// Pieces of a sample.
const PIECES: u64 = 10;

/// Prints how a model goes on from the first characters of the part to validate.
///
/// # Errors
///
/// If the device does not give the logits.
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
