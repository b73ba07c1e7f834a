use bitnet_burn::qat::PackedModel;
use burn::{
    nn::{Linear, LinearConfig},
    tensor::{DType, Device, Tensor},
};

use super::folder::one_file;

/// Layer of the files that are read.
pub fn layer(device: &Device) -> Linear {
    LinearConfig::new(20, 3).init(device)
}

/// Reads the file of a packed model, and runs a layer with it if it fits.
pub fn packed_model(data: &[u8]) {
    let folder = one_file("model.bpk", data);
    let device = Device::default();
    let Ok(packed) = PackedModel::load(folder.path().join("model.bpk"), &device) else {
        return;
    };
    assert!(!packed.to_string().is_empty());
    let Ok(layer) = packed.load_into(layer(&device)) else {
        return;
    };
    let weight = layer.weight.val();
    assert_eq!(weight.dims(), [20, 3]);
    // A model of another float type has inputs of that type.
    let bias = layer.bias.as_ref().map(|bias| bias.dtype());
    if weight.dtype() == DType::F32 && bias == Some(DType::F32) {
        let y = layer.forward(Tensor::<2>::ones([1, 20], &device));
        assert_eq!(y.dims(), [1, 3]);
    }
}
