use bitnet_burn_kernels::reference::{random_bits, stochastic_round_bf16};
use burn::backend::{Backend, TensorData, TensorMetadata, tensor::FloatTensor};

/// Rounds on the host; backends with `bf16` have their own loop or kernel.
pub(in crate::ops) fn stochastic_round<B: Backend>(
    values: FloatTensor<B>,
    seed: u32,
) -> FloatTensor<B> {
    let (shape, device) = (values.shape(), values.device());
    let data = burn::tensor::read_sync(B::float_into_data(values)).expect("the values are there");
    let rounded: Vec<_> = data
        .iter::<f32>()
        .enumerate()
        .map(|(i, value)| stochastic_round_bf16(value, random_bits(seed, i as u32)))
        .collect();
    B::float_from_data(TensorData::new(rounded, shape), &device)
}
