use super::SpecialIds;

/// How a tokenizer is written into the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerOptions {
    pub(super) vocab_size: usize,
    pub(super) pre: Option<String>,
    pub(super) special_ids: SpecialIds,
    pub(super) inexact_merges: bool,
    pub(super) embed_json: bool,
}

impl TokenizerOptions {
    /// Options for a model of `vocab_size` tokens, the rows of its embedding. Ids that the tokenizer
    /// does not have become tokens that are not used.
    pub fn new(vocab_size: usize) -> Self {
        Self {
            vocab_size,
            pre: None,
            special_ids: SpecialIds::default(),
            inexact_merges: false,
            embed_json: false,
        }
    }

    /// The name that llama.cpp has for the tokenizer's pre-tokenizer, `tokenizer.ggml.pre`. Default:
    /// recognized from `tokenizer.json`.
    ///
    /// The name is not checked. llama.cpp takes its own splitting of text into words from it, and
    /// does not know the tokenizer's.
    #[must_use]
    pub fn with_pre(mut self, pre: impl Into<String>) -> Self {
        self.pre = Some(pre.into());
        self
    }

    /// Ids of tokens with a meaning, as the model's configuration tells them. Default, and for those
    /// that are `None`: from `tokenizer_config.json` and the tokenizer's template.
    #[must_use]
    pub fn with_special_ids(mut self, special_ids: SpecialIds) -> Self {
        self.special_ids = special_ids;
        self
    }

    /// Whether merges of characters may be converted that llama.cpp does not do in the same way: it
    /// makes every token of which it has two parts, whether there is a merge for them or not.
    /// Default: no, such a tokenizer is an error.
    #[must_use]
    pub fn with_inexact_merges(mut self, inexact_merges: bool) -> Self {
        self.inexact_merges = inexact_merges;
        self
    }

    /// Whether `tokenizer.json` is put into the metadata as it is, as `tokenizer.huggingface.json`,
    /// from which it comes back whole. Default: no, as it makes the file larger by several megabytes.
    #[must_use]
    pub fn with_embedded_json(mut self, embed_json: bool) -> Self {
        self.embed_json = embed_json;
        self
    }
}
