use super::{GenerationConfig, sampler::Sampler, stop_sequences::StopSequences};
use crate::text::{TextError, TextStream, Tokenizer};

/// Reason why a generated text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// The model emitted an end-of-text token, which is not part of the text.
    Eos,
    /// A stop sequence was generated.
    Stop,
    /// The maximum number of new tokens was reached.
    Length,
    /// The positions of the model are used up.
    Context,
}

/// Result of a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneratedText {
    /// New tokens after the prompt, without the end-of-text token, but with those of a stop sequence.
    pub tokens: Vec<u32>,
    /// Text of the new tokens, without special tokens and the stop sequence.
    pub text: String,
    /// Reason why the text ended.
    pub finish: FinishReason,
}

/// New token and text of a streamed generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Number of the prompt, from 0.
    pub prompt: usize,
    /// New token; `None` for text that was held back until the end.
    pub token: Option<u32>,
    /// New text; empty while a character is incomplete or may belong to a stop sequence.
    pub text: &'a str,
}

/// State of one prompt during generation.
pub(super) struct Progress<'a> {
    prompt: usize,
    /// Tokens of the prompt and the new tokens.
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

    /// Returns the token that the model reads next; any token if the text is finished.
    pub fn last(&self) -> u32 {
        self.all.last().copied().unwrap_or(0)
    }

    /// Draws the next token of an unfinished text.
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

    /// Ends a text that has no positions left or reached its length.
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

    /// Returns the number of the prompt and its text, including held-back text.
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
