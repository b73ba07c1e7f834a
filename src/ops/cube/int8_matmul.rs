//! Linear layer as a product of byte matrices, on devices with instructions for it: the int8 tensor cores
//! of NVIDIA GPUs.

use bitnet_burn_kernels::{Groups, Statistic, kernels, packing::code_words_per_row};
use burn::backend::{
    DType, FloatDType, Shape, TensorMetadata,
    cubecl::dtype_to_elem_type,
    ops::{FloatTensorOps, IntTensorOps},
    tensor::FloatTensor,
};
use burn_cubecl::{
    CubeBackend,
    kernel::{into_contiguous, matmul::init_matmul_output},
    tensor::CubeTensor,
};
use cubecl::{
    client::Client,
    ir::{ElemType, IntKind},
};
use cubek::{
    matmul::{
        definition::{MatmulElems, MatmulGlobalElems},
        launch::launch_ref,
        strategy::Strategy,
    },
    std::InputBinding,
};

use super::allocation::empty;
use crate::ops::{AbsmaxCodes, PackedTernary, QatOps, composed};

/// Returns whether the device multiplies matrices of 8-bit integers into sums of 32 bits.
pub(super) fn has_int8_matmul(client: &Client) -> bool {
    let [byte, sum] = [IntKind::I8, IntKind::I32].map(ElemType::Int);
    let features = &client.features().matmul;
    let mut configs = features.cmma.iter().chain(&features.mma);
    configs.any(|c| c.a_type == byte && c.b_type == byte && c.cd_type == sum)
}

/// Views words of codes as bytes.
fn bytes(words: CubeTensor, shape: [usize; 2]) -> CubeTensor {
    let CubeTensor {
        client,
        handle,
        device,
        ..
    } = into_contiguous(words);
    CubeTensor::new_contiguous(client, device, Shape::new(shape), handle, DType::I8)
}

/// Codes of activations, and an optional bias.
pub(super) struct Input {
    codes: AbsmaxCodes<CubeBackend>,
    bias: FloatTensor<CubeBackend>,
    /// Strategy of the matrix product.
    strategy: Strategy,
}

/// Returns the 32-bit product of byte matrices, or `None` if no kernel supports the shapes.
fn int_product(strategy: &Strategy, a: CubeTensor, b: CubeTensor) -> Option<CubeTensor> {
    let [byte, sum] = [DType::I8, DType::I32].map(dtype_to_elem_type);
    let output = init_matmul_output(&a, &b, DType::I32);
    let mut types = MatmulElems::from_globals(&MatmulGlobalElems {
        lhs: byte,
        rhs: byte,
        out: sum,
    });
    let client = output.client.clone();
    let [a, b] = [a, b].map(|tensor| InputBinding::new(tensor.binding(), byte));
    launch_ref(
        strategy,
        &client,
        a,
        b,
        output.clone().binding(),
        &mut types,
    )
    .ok()?;
    Some(output)
}

impl Input {
    pub fn new(codes: &AbsmaxCodes<CubeBackend>, bias: &FloatTensor<CubeBackend>) -> Self {
        Self {
            codes: codes.clone(),
            bias: bias.clone(),
            strategy: Strategy::Auto,
        }
    }

    /// Returns the output for ternary bytes `[depth, columns]` and one scale, or one for each of the first
    /// `d_output` columns. Returns `None` if no kernel supports the shapes.
    fn product(
        &self,
        ternary: CubeTensor,
        gamma: FloatTensor<CubeBackend>,
        d_output: usize,
    ) -> Option<FloatTensor<CubeBackend>> {
        let (tokens, depth) = (self.codes.words.shape()[0], ternary.shape()[0]);
        let x = bytes(self.codes.words.clone(), [tokens, depth]);
        let sums = int_product(&self.strategy, x, ternary)?;
        let sums = CubeBackend::int_slice(sums, &[(0..tokens).into(), (0..d_output).into()]);
        let sums = CubeBackend::int_into_float(sums, FloatDType::F32);
        let scales = CubeBackend::float_recip(self.codes.inverse_scales.clone());
        let y = CubeBackend::float_mul(sums, CubeBackend::float_mul(scales, gamma));
        let y = CubeBackend::float_cast(y, self.bias.dtype().into());
        Some(composed::biased::<CubeBackend>(y, self.bias.clone()))
    }
}

/// Computes `Y = X Q(W) + b` for a latent weight `[d_input, d_output]`, with integer sums. Returns `None` if
/// the scales cannot be factored out of the sums, or no kernel supports the shapes.
pub(super) fn ternary_linear(
    input: &Input,
    weight: FloatTensor<CubeBackend>,
    groups: Groups,
) -> Option<FloatTensor<CubeBackend>> {
    let [d_input, d_output] = weight.shape().dims();
    if groups.outer != 1 || (groups.inner != 1 && groups.inner != d_output) {
        return None;
    }
    let weight = into_contiguous(weight);
    let gamma = CubeBackend::group_statistic(weight.clone(), groups, Statistic::AbsMean);
    // Zero padding to whole words of each row, and rows for the zeros of the codes.
    let [depth, columns] = [d_input, d_output].map(|n| 4 * code_words_per_row(n));
    let words = empty(&weight, Shape::new([depth, columns / 4]), DType::U32);
    kernels::ternary_codes(
        &weight.client,
        &weight.handle,
        &gamma.handle,
        &words.handle,
        groups,
        [depth, d_output],
        dtype_to_elem_type(weight.dtype),
    );
    input.product(bytes(words, [depth, columns]), gamma, d_output)
}

/// Computes [`ternary_linear`] for a packed weight `[d_output, d_input]`.
pub(super) fn packed_linear(
    input: &Input,
    weight: PackedTernary<CubeBackend>,
) -> Option<FloatTensor<CubeBackend>> {
    let groups = weight.groups;
    let [d_output, packed_words] = weight.words.shape().dims();
    if groups.inner != 1 || (groups.outer != 1 && groups.outer != d_output) {
        return None;
    }
    let [packed, gamma] = [weight.words, weight.scales].map(into_contiguous);
    // A word of sixteen codes becomes four.
    let words = empty(
        &packed,
        Shape::new([d_output, 4 * packed_words]),
        DType::U32,
    );
    kernels::unpack_codes(
        &packed.client,
        &packed.handle,
        &words.handle,
        d_output * packed_words,
    );
    let rows = bytes(words, [d_output, 16 * packed_words]);
    let gamma = CubeBackend::float_reshape(gamma, Shape::new([1, groups.outer]));
    input.product(CubeBackend::int_swap_dims(rows, 0, 1), gamma, d_output)
}

#[cfg(all(test, feature = "cpu"))]
mod tests {
    use burn::{backend::TensorData, tensor::read_sync};
    use burn_cubecl::CubeDevice;
    use cubek::matmul::multi_level;

    use super::*;

    fn tensor(shape: [usize; 2], scale: f32, device: &CubeDevice) -> CubeTensor {
        let value = |i: usize| (i as f32 * 0.73).sin() * scale;
        let values: Vec<f32> = (0..shape[0] * shape[1]).map(value).collect();
        CubeBackend::float_from_data(TensorData::new(values, shape), device)
    }

    fn assert_close(y: Option<CubeTensor>, expected: CubeTensor) {
        let [y, expected] = [y.expect("a kernel for the shapes"), expected].map(|tensor| {
            let data = read_sync(CubeBackend::float_into_data(tensor)).expect("the device works");
            data.try_to_vec::<f32>().expect("floats")
        });
        assert_eq!(y.len(), expected.len());
        for (y, expected) in y.into_iter().zip(expected) {
            // Bound `(d_input + 6) u` for 64 products of at most 2 * 0.05.
            assert!((y - expected).abs() < 70.0 * 6e-8 * 6.4, "{y}, {expected}");
        }
    }

    /// Runs on CubeCL's CPU runtime, which has no such instructions but computes with bytes; the kernel
    /// chosen for a GPU needs more shared memory.
    #[test]
    fn integer_sums_give_the_outputs_of_the_float_product() {
        let device = CubeDevice::Cpu(Default::default());
        for [tokens, d_input, d_output] in [[5, 33, 20], [16, 64, 32]] {
            let x = tensor([tokens, d_input], 2.0, &device);
            let codes = CubeBackend::absmax_quantize(x, 127.0);
            let bias = tensor([1, d_output], 0.1, &device);
            let bias = CubeBackend::float_reshape(bias, Shape::new([d_output]));
            let input = Input {
                codes: codes.clone(),
                bias: bias.clone(),
                strategy: Strategy::MultiLevel(multi_level::Strategy::Naive),
            };

            let shape = [d_input, d_output];
            let weight = tensor(shape, 0.05, &device);
            for groups in [
                Groups::per_tensor(d_input * d_output),
                Groups::along_axis(&shape, 0, d_input),
            ] {
                let (x, weight, bias) = (codes.clone(), weight.clone(), bias.clone());
                let expected =
                    composed::ternary_linear::<CubeBackend>(x, weight.clone(), bias, groups);
                assert_close(ternary_linear(&input, weight, groups), expected);
            }

            let shape = [d_output, d_input];
            let weight = tensor(shape, 0.05, &device);
            for groups in [
                Groups::per_tensor(d_input * d_output),
                Groups::per_row(&shape),
            ] {
                let scales =
                    CubeBackend::group_statistic(weight.clone(), groups, Statistic::AbsMean);
                let weight = PackedTernary {
                    words: CubeBackend::ternary_pack(weight.clone(), scales.clone(), groups),
                    scales,
                    groups,
                };
                let (x, bias) = (codes.clone(), bias.clone());
                let expected = composed::packed_linear::<CubeBackend>(x, weight.clone(), bias);
                assert_close(packed_linear(&input, weight), expected);
            }
        }
    }
}
