//! A model of Hugging Face: `hf MODEL FOLDER` fine-tunes it with growing lambda, packs it into FOLDER, and runs that.
use std::error::Error;

use bitnet_burn::interop::{CausalLm, PretrainedLm, hf};
use bitnet_burn::loss::CausalLmLossConfig;
use bitnet_burn::quant::{QatScheme, QuantControls, schedule::*};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::{Device, FloatDType, Int, Tensor};

fn main() -> Result<(), Box<dyn Error>> {
    let [model, folder] = std::env::args().skip(1).collect::<Vec<_>>().try_into().expect("a model and a folder");
    let device = Device::default().autodiff();
    let options = hf::LoadOptions::new().with_dtype(Some(FloatDType::F32));
    let pretrained = hf::load(&model, &options, &device)?;
    let config = pretrained.config.clone();
    let mut lm = pretrained.into_qat(&QatScheme::b1_58()).ok_or("its weights are packed: they do not train")?;

    let (steps, controls) = (20, QuantControls::of(&lm));
    let schedule = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, steps / 2)?;
    let mut optimizer = AdamWConfig::new().init();
    let tokens: Vec<i32> = (0..33).map(|i| i * i % config.vocab_size as i32).collect();
    let tokens = Tensor::<1, Int>::from_data(&tokens[..], &device).reshape([1, 33]);
    let (inputs, targets) = (tokens.clone().narrow(1, 0, 32), tokens.narrow(1, 1, 32));
    for step in 0..steps {
        controls.set_lambda(schedule.value(step));
        let loss = CausalLmLossConfig::new().init().forward(lm.forward(inputs.clone()), targets.clone());
        println!("step {step}: lambda {:.1}, loss {:.4}", schedule.value(step), loss.clone().into_scalar::<f32>());
        let grads = GradientsParams::from_grads(loss.backward(), &lm);
        lm = optimizer.step(1e-3, lm, grads);
    }
    controls.set_lambda(1.0);
    let (inputs, trained) = (inputs.inner(), PretrainedLm::new(config, CausalLm::Qat(lm)));
    let form = hf::WeightForm::Packed(hf::ScaleConvention::Divide);
    hf::save(&folder, &trained, &hf::SaveOptions::new(form))?;
    let packed = hf::load(&folder, &options, &Device::default())?;
    let equal = packed.lm.forward(inputs.clone()).into_data() == trained.lm.forward(inputs).into_data();
    println!("{folder}: the packed model computes {}", if equal { "the same" } else { "something else" });
    Ok(())
}
