use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    config_keys::{self, CONFIG_FILE},
    coverage::MissingBytes,
    model_folder::{check_merges, check_post_processor, json_file, special_token, token_ids},
    special_tokens::{self, SpecialTokens},
};
use crate::{
    base::{atomic_file, key_table::UnknownKey},
    text::TextError,
};

const TOKENIZER_FILE: &str = "tokenizer.json";

/// Tokenizer of Hugging Face's `tokenizers`, with the special tokens of its model.
///
/// Special tokens in a text, such as `<|endoftext|>`, are encoded as such, as in transformers. None is
/// added to a text except by [`encode_with_special_tokens`](Self::encode_with_special_tokens).
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::text::Tokenizer;
///
/// let tokenizer = Tokenizer::characters("a woodchuck")?;
/// let tokens = tokenizer.encode("wood")?;
/// assert_eq!(tokenizer.decode(&tokens)?, "wood");
///
/// let folder = std::env::temp_dir().join(format!("tokenizer_{}", std::process::id()));
/// tokenizer.save(&folder)?;
/// assert_eq!(Tokenizer::from_file(&folder)?.encode("wood")?, tokens);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Tokenizer {
    pub(super) inner: tokenizers::Tokenizer,
    /// Contents of `tokenizer_config.json`.
    config: Map<String, Value>,
    pub(super) missing: Option<MissingBytes>,
    vocab_size: usize,
    bos: Option<u32>,
    eos: Vec<u32>,
    special: SpecialTokens,
    unknown_keys: Vec<UnknownKey>,
}

impl Tokenizer {
    /// Loads a `tokenizer.json`, or that of a folder.
    ///
    /// The tokens that begin and end a text are read from `tokenizer_config.json` beside it, further
    /// end-of-text tokens from `generation_config.json` and `config.json`. A tokenizer without these files
    /// has none. The special tokens around a text are defined by `tokenizer.json`, as in transformers, which
    /// ignores `add_bos_token` beside it. As there, `special_tokens_map.json` is read for configurations of
    /// old versions, which do not list the added tokens.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is malformed, a special token is not in the vocabulary, or the
    /// configuration asks for another tokenization than `tokenizer.json`.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, TextError> {
        let path = path.as_ref();
        let path = match path.is_dir() {
            true => path.join(TOKENIZER_FILE),
            false => path.to_path_buf(),
        };
        let text = fs::read_to_string(&path).map_err(TextError::io(&path))?;
        let json = serde_json::from_str(&text).map_err(|error| TextError::Tokenizer {
            path: Some(path.clone()),
            reason: error.to_string(),
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut config = json_file(&folder.join(CONFIG_FILE))?.unwrap_or_default();
        special_tokens::add_legacy_map(&mut config, folder)?;
        Self::from_json(&json, config, Some(&path))?.with_model_folder(folder)
    }

    /// Creates a tokenizer from the JSON of its files.
    pub(in crate::text) fn from_json(
        json: &Value,
        config: Map<String, Value>,
        path: Option<&Path>,
    ) -> Result<Self, TextError> {
        let wrong = |reason: String| TextError::Tokenizer {
            path: path.map(Path::to_path_buf),
            reason,
        };
        check_merges(json).map_err(wrong)?;
        check_post_processor(&json["post_processor"]).map_err(wrong)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(json.to_string())
            .map_err(|error| wrong(error.to_string()))?;
        // Truncation and padding are up to the data set.
        inner.with_padding(None);
        (inner.with_truncation(None)).map_err(|error| wrong(error.to_string()))?;
        let largest = inner.get_vocab(true).into_values().max();
        let largest = largest.ok_or_else(|| wrong("expected tokens, found none".to_string()))?;
        let config_path = path.map_or_else(PathBuf::new, |path| path.with_file_name(CONFIG_FILE));
        let unknown_keys = config_keys::check(&config, json, &inner, &config_path)?;
        inner.set_encode_special_tokens(config_keys::splits_special_tokens(&config));
        let special = SpecialTokens::of(&inner, &config, &config_path, wrong)?;
        let mut tokenizer = Self {
            missing: MissingBytes::of(&inner),
            inner,
            config,
            vocab_size: largest as usize + 1,
            bos: None,
            eos: Vec::new(),
            special,
            unknown_keys,
        };
        let around = &tokenizer.special;
        for &token in around.prefix.iter().chain(&around.suffix) {
            tokenizer.check(token)?;
        }
        tokenizer.bos = tokenizer.configured("bos_token", &config_path)?;
        tokenizer.eos = Vec::from_iter(tokenizer.configured("eos_token", &config_path)?);
        Ok(tokenizer)
    }

    /// Returns the id of a special token of `tokenizer_config.json`.
    fn configured(&self, name: &str, path: &Path) -> Result<Option<u32>, TextError> {
        let Some(token) = special_token(&self.config, name, path)? else {
            return Ok(None);
        };
        match self.token_id(&token) {
            Some(id) => Ok(Some(id)),
            None => {
                let (place, found) = (format!("`{name}`"), format!("{token:?}"));
                let expected = "a token of the vocabulary";
                Err(TextError::value(path, place, expected, found))
            }
        }
    }

    /// Adds the end-of-text tokens in `generation_config.json` and `config.json` of a model's folder, for a
    /// tokenizer that is elsewhere.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or is malformed, or a token is not in the vocabulary.
    pub fn with_model_folder(mut self, folder: impl AsRef<Path>) -> Result<Self, TextError> {
        let folder = folder.as_ref();
        for id in token_ids(folder, "eos_token_id")? {
            self.check(id)?;
            if !self.eos.contains(&id) {
                self.eos.push(id);
            }
        }
        let bos = token_ids(folder, "bos_token_id")?;
        self.bos = self.bos.or(bos.first().copied());
        self.bos.map_or(Ok(()), |bos| self.check(bos))?;
        Ok(self)
    }

    /// Writes `tokenizer.json` and `tokenizer_config.json` into a folder and creates it if necessary.
    ///
    /// # Errors
    ///
    /// If the files cannot be written.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<(), TextError> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(TextError::io(folder))?;
        let config = serde_json::to_string_pretty(&self.config).map_err(TextError::encoding)?;
        let json = self.inner.to_string(true).map_err(TextError::encoding)?;
        for (file, text) in [(TOKENIZER_FILE, json), (CONFIG_FILE, config)] {
            let path = folder.join(file);
            let written = atomic_file::write(&path, |file| writeln!(file, "{text}"));
            written.map_err(TextError::io(&path))?;
        }
        Ok(())
    }

    /// Sets `model_max_length` of `tokenizer_config.json`: the positions of the model.
    #[must_use]
    pub fn with_model_max_length(mut self, positions: usize) -> Self {
        let name = "model_max_length".to_string();
        self.config.insert(name, positions.into());
        self
    }

    /// Returns the contents of `tokenizer_config.json`.
    pub fn config(&self) -> &Map<String, Value> {
        &self.config
    }

    /// Returns the contents of `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// If the tokenizer cannot be serialized as JSON.
    pub fn json(&self) -> Result<Value, TextError> {
        serde_json::to_value(&*self.inner).map_err(TextError::encoding)
    }

    /// Returns the largest token id plus 1: the minimum number of rows of a model's embedding.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Returns the token that ends a text; the first of [`eos_tokens`](Self::eos_tokens).
    pub fn eos(&self) -> Option<u32> {
        self.eos.first().copied()
    }

    /// Returns all tokens that end a generated text; chat models also have one that ends a turn.
    pub fn eos_tokens(&self) -> &[u32] {
        &self.eos
    }

    /// Returns the token that begins a text.
    pub fn bos(&self) -> Option<u32> {
        self.bos
    }

    /// Returns the unknown keys of `tokenizer_config.json`; they had no effect.
    pub fn unknown_keys(&self) -> &[UnknownKey] {
        &self.unknown_keys
    }

    /// Returns the id of a token.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Returns the token with an id as in the vocabulary: byte-level tokenizers write a space as `Ġ`.
    pub fn token(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// Returns the tokens that the tokenizer adds before a text, such as one that begins it; often none,
    /// even if [`bos`](Self::bos) has a value.
    pub fn prefix_tokens(&self) -> &[u32] {
        &self.special.prefix
    }

    /// Returns the tokens that the tokenizer adds after a text.
    pub fn suffix_tokens(&self) -> &[u32] {
        &self.special.suffix
    }

    /// Returns names and texts of the special tokens in `tokenizer_config.json`, such as `unk_token`:
    /// variables of chat templates.
    pub fn special_tokens(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let named = self.special.named.iter();
        named.map(|(name, token)| (*name, token.as_str()))
    }

    /// Returns the text of a special token, which is omitted from decoded text.
    pub(in crate::text) fn special_text(&self, token: u32) -> Option<&str> {
        self.special.texts.get(&token).map(String::as_str)
    }

    /// Rejects an id that is not in the vocabulary.
    pub(super) fn check(&self, token: u32) -> Result<(), TextError> {
        if (token as usize) < self.vocab_size {
            return Ok(());
        }
        Err(TextError::UnknownToken {
            token,
            vocab_size: self.vocab_size,
        })
    }
}
