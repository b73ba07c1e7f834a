use super::{GenerationConfig, Sampler, stop_sequences::StopSequences};
use crate::text::{TextError, TextStream, Tokenizer};

/// Why a generated text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended it, with a token that is not part of it.
    Eos,
    /// A stop sequence followed.
    Stop,
    /// It has as many tokens as were asked for.
    Length,
    /// The model has no more positions.
    Context,
}

/// How a prompt was gone on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedText {
    /// The tokens after the prompt, without the one that ends the text, but with those of a stop
    /// sequence.
    pub tokens: Vec<u32>,
    /// Their text, without special tokens and the stop sequence.
    pub text: String,
    /// Why it ends.
    pub finish: FinishReason,
}

/// What came to a generated text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Number of the prompt, from 0.
    pub prompt: usize,
    /// The new token; `None` for text that was held back until the end.
    pub token: Option<u32>,
    /// The new text; empty while a character is not whole, or may belong to a stop sequence.
    pub text: &'a str,
}

/// The text of one prompt while it is generated.
pub(super) struct Progress<'a> {
    prompt: usize,
    /// The tokens of the prompt, and those after it.
    all: Vec<u32>,
    prompt_len: usize,
    text: String,
    sampler: Sampler,
    tokenizer: &'a Tokenizer,
    stream: TextStream<'a>,
    stop: StopSequences<'a>,
    finish: Option<FinishReason>,
}

impl<'a> Progress<'a> {
    pub fn new(
        prompt: usize,
        tokens: &[u32],
        tokenizer: &'a Tokenizer,
        config: &'a GenerationConfig,
    ) -> Result<Self, TextError> {
        Ok(Self {
            prompt,
            all: tokens.to_vec(),
            prompt_len: tokens.len(),
            text: String::new(),
            sampler: Sampler::new(config, prompt as u64)?,
            tokenizer,
            stream: TextStream::new(tokenizer),
            stop: StopSequences::new(&config.stop),
            finish: None,
        })
    }

    pub fn is_finished(&self) -> bool {
        self.finish.is_some()
    }

    /// The token that the model reads next; of a finished text any.
    pub fn last(&self) -> u32 {
        self.all.last().copied().unwrap_or(0)
    }

    /// Draws the next token of a text that is not finished.
    pub fn advance(
        &mut self,
        logits: &[f32],
        eos: &[u32],
        on_piece: &mut dyn FnMut(Piece),
    ) -> Result<(), TextError> {
        let token = self.sampler.sample(logits, &self.all)?;
        if eos.contains(&token) {
            self.finish = Some(FinishReason::Eos);
            return Ok(());
        }
        self.all.push(token);
        let text = self.stream.push(token)?;
        let (text, stopped) = self.stop.push(&text, self.tokenizer.special_text(token));
        self.text.push_str(&text);
        if stopped {
            self.finish = Some(FinishReason::Stop);
        }
        on_piece(Piece {
            prompt: self.prompt,
            token: Some(token),
            text: &text,
        });
        Ok(())
    }

    /// Ends a text that has no room or is long enough.
    pub fn limit(&mut self, max_new_tokens: usize, has_room: bool) {
        if self.is_finished() {
            return;
        }
        if self.all.len() - self.prompt_len >= max_new_tokens {
            self.finish = Some(FinishReason::Length);
        } else if !has_room {
            self.finish = Some(FinishReason::Context);
        }
    }

    /// The number of the prompt and its text, with what was held back.
    pub fn into_text(
        mut self,
        on_piece: &mut dyn FnMut(Piece),
    ) -> Result<(usize, GeneratedText), TextError> {
        let finish = self.finish.unwrap_or(FinishReason::Length);
        if finish != FinishReason::Stop {
            let (mut rest, stopped) = self.stop.push(&self.stream.finish()?, None);
            if !stopped {
                rest += &self.stop.finish();
            }
            self.text.push_str(&rest);
            if !rest.is_empty() {
                on_piece(Piece {
                    prompt: self.prompt,
                    token: None,
                    text: &rest,
                });
            }
        }
        let text = GeneratedText {
            tokens: self.all.split_off(self.prompt_len),
            text: self.text,
            finish,
        };
        Ok((self.prompt, text))
    }
}
