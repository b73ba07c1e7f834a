//! CubeCL: launches of the kernels of `bitnet-burn-kernels`.

use bitnet_burn_kernels::{Groups, kernels};
use burn::backend::{
    DType, FloatDType, Shape, TensorMetadata,
    cubecl::dtype_to_elem_type,
    tensor::{FloatTensor, IntTensor},
};
use burn_cubecl::{
    CubeBackend, kernel::into_contiguous, ops::numeric::empty_device_contiguous_dtype,
    tensor::CubeTensor,
};

use super::{QatOps, packed_shape};

/// A contiguous tensor of uninitialised values on the device of `like`.
fn empty(like: &CubeTensor, shape: Shape, dtype: DType) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape, dtype)
}

impl QatOps for CubeBackend {
    fn ternary_fake_quant(
        weight: FloatTensor<Self>,
        groups: Groups,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let weight = into_contiguous(weight);
        let output = empty(&weight, weight.shape(), weight.dtype);
        let scales = empty(&weight, Shape::new(groups.scale_shape()), DType::F32);
        kernels::ternary_fake_quant(
            &weight.client,
            &weight.handle,
            &output.handle,
            &scales.handle,
            groups,
            dtype_to_elem_type(weight.dtype),
        );
        (output, scales)
    }

    fn absmax_fake_quant(
        x: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let x = into_contiguous(x);
        let output = empty(&x, x.shape(), x.dtype);
        let scales = empty(&x, Shape::new(groups.scale_shape()), DType::F32);
        kernels::absmax_fake_quant(
            &x.client,
            &x.handle,
            &output.handle,
            &scales.handle,
            groups,
            max_code,
            dtype_to_elem_type(x.dtype),
        );
        (output, scales)
    }

    fn ternary_pack(
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
    ) -> IntTensor<Self> {
        let weight = into_contiguous(weight);
        let scales = into_contiguous(scales);
        let shape = weight.shape();
        let output = empty(&weight, packed_shape(&shape), DType::U32);
        kernels::ternary_pack(
            &weight.client,
            &weight.handle,
            &scales.handle,
            &output.handle,
            groups,
            shape[shape.num_dims() - 1],
            dtype_to_elem_type(weight.dtype),
        );
        output
    }

    fn ternary_unpack(
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let packed = into_contiguous(packed);
        let scales = into_contiguous(scales);
        let row_length = shape[shape.num_dims() - 1];
        let output = empty(&packed, shape, dtype.into());
        kernels::ternary_unpack(
            &packed.client,
            &packed.handle,
            &scales.handle,
            &output.handle,
            groups,
            row_length,
            dtype_to_elem_type(output.dtype),
        );
        output
    }

    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        let x = into_contiguous(x);
        let output = empty(&x, x.shape(), x.dtype);
        kernels::hadamard_transform(
            &x.client,
            &x.handle,
            &output.handle,
            x.shape().num_elements(),
            block,
            dtype_to_elem_type(x.dtype),
        );
        output
    }
}
