/// What a reader of GGUF files should expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GgufOptions {
    pub(super) i2_s: bool,
}

impl GgufOptions {
    /// Whether tensors of type 36 are read as [`I2_S`](super::GgmlType::I2_S), which they are in
    /// files of bitnet.cpp alone. Default: no, such tensors are an error.
    pub fn with_i2_s(mut self, i2_s: bool) -> Self {
        self.i2_s = i2_s;
        self
    }
}
