//! A Hugging Face model: `hf train MODEL FOLDER` fine-tunes it with growing lambda, resumes after a kill,
//! and packs it into FOLDER/packed for transformers; `hf use FOLDER/packed FOLDER` runs the packed model.
use std::{error::Error, fs, path::Path};

use bitnet_burn::{interop::*, loss::CausalLmLoss, prelude::*, quant::schedule::*};
use burn::{module::Module, optim::*, store::ModuleRecord, tensor::*};

fn train(pretrained: PretrainedLm, tokens: Tensor<2, Int>, folder: &Path) -> Result<PretrainedLm, Box<dyn Error>> {
    let config = pretrained.config.clone();
    let mut lm = pretrained.into_qat(&QatScheme::b1_58()).ok_or("its weights are packed: they do not train")?;
    let (controls, mut optimizer) = (QuantControls::of(&lm), AdamWConfig::new().init());
    let lambda = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, 100)?;
    let (inputs, targets) = (tokens.clone().narrow(1, 0, 32), tokens.narrow(1, 1, 32));
    let file = |name: &str, step: usize| folder.join(format!("{name}-{step}.bpk"));
    let latest = fs::read_to_string(folder.join("latest")).map_or(Ok(0), |step| step.parse())?;
    if latest > 0 {
        lm = lm.try_load_record(ModuleRecord::load(file("model", latest))?)?;
        optimizer = optimizer.load_record(OptimizerRecord::load(file("optimizer", latest))?);
    }
    for step in latest..200 {
        controls.set_lambda(lambda.value(step));
        let loss = CausalLmLoss::new().forward(lm.forward(inputs.clone()), targets.clone());
        let grads = GradientsParams::from_grads(loss.backward(), &lm);
        lm = optimizer.step(1e-3, lm, grads);
        lm.clone().into_record().save(file("model", step + 1))?;
        optimizer.to_record().save(file("optimizer", step + 1))?;
        fs::write(folder.join("new"), (step + 1).to_string())?;
        fs::rename(folder.join("new"), folder.join("latest"))?;
    }
    let (trained, form) = (PretrainedLm::new(config, CausalLm::Qat(lm)), hf::ScaleConvention::Divide);
    hf::save(folder.join("packed"), &trained, &hf::SaveOptions::new(hf::WeightForm::Packed(form)))?;
    Ok(trained)
}

fn main() -> Result<(), Box<dyn Error>> {
    let [command, model, folder] = std::env::args().skip(1).collect::<Vec<_>>().try_into().expect("3 arguments");
    let (device, options) = (Device::default().autodiff(), hf::LoadOptions::new().with_dtype(Some(FloatDType::F32)));
    let mut model = hf::load(model, &options, &device)?;
    let tokens = Tensor::<1, Int>::arange(0..33, &device).reshape([1, 33]);
    if command == "train" {
        model = train(model, tokens.clone(), Path::new(&folder))?;
    }
    println!("{:?}", model.lm.forward(tokens).slice([0..1, 32..33]).into_data().try_to_vec::<f32>()?);
    Ok(())
}
