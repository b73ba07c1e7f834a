/// Part of an adapted weight that its fake quantizer quantizes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum QuantizedPart {
    /// The frozen base: `Q(W) + s A B`, an adapter in full precision beside a quantized weight.
    #[default]
    Base,
    /// The result: `Q(W + s A B)`, quantization-aware training in the directions of the adapter. The
    /// [merged](super::merge_adapters) weight is quantized and can be packed.
    Sum,
}
