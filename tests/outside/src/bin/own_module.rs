//! A module around `BitLinear`, generic over trained and packed layers: `own_module train FOLDER` trains
//! it in a custom loop, resumes after a kill, and packs it; `own_module use FOLDER` runs the packed weights.
use std::{error::Error, fs, path::Path};

use bitnet_burn::nn::{BitLinear, BitLinearConfig, PackedBitLinear, Projection};
use burn::optim::{AdamWConfig, GradientsParams, OptimizerRecord};
use burn::{module::Module, store::ModuleRecord, tensor::*};

#[derive(Module, Debug)]
struct Residual<P: Projection> {
    up: P,
    down: P,
}

impl<P: Projection> Residual<P> {
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.clone() + self.down.forward(activation::relu(self.up.forward(x)))
    }
}

impl Residual<BitLinear> {
    fn new(device: &Device) -> Self {
        device.seed(0);
        Self { up: BitLinearConfig::new(16, 64).init(device), down: BitLinearConfig::new(64, 16).init(device) }
    }
    fn pack(&self) -> Residual<PackedBitLinear> {
        Residual { up: self.up.pack(), down: self.down.pack() }
    }
}

fn inputs(step: usize, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..128).map(|i| ((i * 37 + step * 11) % 17) as f32 / 8.0 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, [8, 16]), device)
}

fn train(folder: &Path) -> Result<Residual<BitLinear>, Box<dyn Error>> {
    let device = Device::default().autodiff();
    let (mut model, mut optimizer) = (Residual::new(&device), AdamWConfig::new().init());
    let file = |name: &str, step: usize| folder.join(format!("{name}-{step}.bpk"));
    let latest = fs::read_to_string(folder.join("latest")).map_or(Ok(0), |step| step.parse())?;
    if latest > 0 {
        model = model.try_load_record(ModuleRecord::load(file("model", latest))?)?;
        optimizer = optimizer.load_record(OptimizerRecord::load(file("optimizer", latest))?);
    }
    for (step, x) in (latest..2000).map(|step| (step, inputs(step, &device))) {
        let loss = (model.forward(x.clone()) - x.flip([1])).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(1e-3, model, grads);
        if (step + 1) % 100 == 0 {
            model.clone().into_record().save(file("model", step + 1))?;
            optimizer.to_record().save(file("optimizer", step + 1))?;
            fs::write(folder.join("new"), (step + 1).to_string())?;
            fs::rename(folder.join("new"), folder.join("latest"))?;
        }
    }
    Ok(model)
}

fn main() -> Result<(), Box<dyn Error>> {
    let [command, folder] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().expect("train or use, and a folder");
    let (device, file) = (Device::default(), Path::new(&folder).join("packed.bpk"));
    if command == "train" {
        train(Path::new(&folder))?.pack().into_record().save(&file)?;
    }
    let packed = Residual::new(&device).pack().try_load_record(ModuleRecord::load(file)?)?;
    println!("{:?}", packed.forward(inputs(0, &device)).into_data().try_to_vec::<f32>()?);
    Ok(())
}
