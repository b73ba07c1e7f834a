/// Type of the logits in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogitsType {
    /// 4 bytes, exact.
    F32,
    /// 2 bytes, rounded to 11 bits.
    F16,
}

/// Selection of the logits of a token that are stored.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum StoredLogits {
    /// All logits.
    Full,
    /// The largest logits, and the mass of the others.
    TopK {
        /// Number of logits, less than the size of the vocabulary.
        k: usize,
        /// Temperature of the distillation, at which the mass of the others is computed.
        temperature: f64,
    },
}

/// Format of a file of teacher logits, required by writer and reader.
#[derive(Debug, Clone, PartialEq)]
pub struct TeacherLogitsFormat {
    /// Size of the vocabulary.
    pub vocab: usize,
    /// Number of positions per example.
    pub positions: usize,
    /// Type of the logits.
    pub logits_type: LogitsType,
    /// Selection of the logits that are stored.
    pub stored: StoredLogits,
    /// Identifier of teacher and data set, such as the path and hash of a checkpoint and of a text;
    /// at most 1024 bytes.
    pub fingerprint: String,
}

/// Maximum length of a fingerprint, in bytes.
pub(super) const MAX_FINGERPRINT: usize = 1024;

impl TeacherLogitsFormat {
    /// Creates a format with all logits as `f16`.
    ///
    /// # Panics
    ///
    /// If vocabulary or positions are 0 or above `i32::MAX`, or the fingerprint is too long.
    #[track_caller]
    pub fn new(vocab: usize, positions: usize, fingerprint: impl Into<String>) -> Self {
        let fingerprint = fingerprint.into();
        for (name, value) in [("vocab", vocab), ("positions", positions)] {
            assert!(
                value > 0 && i32::try_from(value).is_ok(),
                "{name} must be 1 to {}, got {value}",
                i32::MAX
            );
        }
        assert!(
            fingerprint.len() <= MAX_FINGERPRINT,
            "a fingerprint has at most {MAX_FINGERPRINT} bytes, got {}",
            fingerprint.len()
        );
        Self {
            vocab,
            positions,
            logits_type: LogitsType::F16,
            stored: StoredLogits::Full,
            fingerprint,
        }
    }

    /// Sets the type of the logits.
    #[must_use]
    pub fn with_logits_type(mut self, logits_type: LogitsType) -> Self {
        self.logits_type = logits_type;
        self
    }

    /// Stores only the `k` largest logits of each token, for a distillation at `temperature`.
    ///
    /// # Panics
    ///
    /// If `k` is 0 or not below the vocabulary, or the temperature is not positive and finite.
    #[track_caller]
    #[must_use]
    pub fn with_top_k(mut self, k: usize, temperature: f64) -> Self {
        assert!(
            0 < k && k < self.vocab,
            "k must be 1 or more and below the vocabulary {}, got {k}",
            self.vocab
        );
        assert!(
            temperature > 0.0 && temperature.is_finite(),
            "temperature must be positive and finite, got {temperature}"
        );
        self.stored = StoredLogits::TopK { k, temperature };
        self
    }

    /// Returns the size of an example in the file, in bytes.
    pub fn num_bytes_of_example(&self) -> u64 {
        let per_position = match self.stored {
            StoredLogits::Full => self.num_stored() * self.logits_type.size(),
            StoredLogits::TopK { k, .. } => {
                k * (self.logits_type.size() + self.token_size()) + size_of::<f32>()
            }
        };
        self.positions as u64 * per_position as u64 + CHECKSUM_SIZE as u64
    }

    /// Returns the number of logits stored per position.
    pub(super) fn num_stored(&self) -> usize {
        match self.stored {
            StoredLogits::Full => self.vocab,
            StoredLogits::TopK { k, .. } => k,
        }
    }

    /// Returns the size of a token, in bytes.
    pub(super) fn token_size(&self) -> usize {
        match self.vocab <= usize::from(u16::MAX) + 1 {
            true => size_of::<u16>(),
            false => size_of::<u32>(),
        }
    }
}

/// Size of a checksum, in bytes.
pub(super) const CHECKSUM_SIZE: usize = size_of::<u32>();

impl LogitsType {
    /// Returns the size of a logit, in bytes.
    pub(super) fn size(&self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
        }
    }
}
