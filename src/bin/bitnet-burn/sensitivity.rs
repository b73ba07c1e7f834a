//! `bitnet-burn sensitivity`.

use std::path::PathBuf;

use bitnet_burn::{
    monitor::{ErrorHistory, HtmlReport},
    qat::{MixedPrecisionPlan, PlanBudget, QuantControls, Sensitivity},
    quant::{BitWidth, QatScheme},
};
use serde_json::json;

use crate::{
    device::{DeviceArguments, on_pool},
    error::Failure,
    eval::{TextArguments, loss},
    model_file::{self, ModelFile, ReadArguments},
    output::Output,
};

const EXAMPLES: &str = "\
Examples:
  bitnet-burn sensitivity llama --text test.txt --windows 32
      rank the layers by their sensitivity to ternary weights
  bitnet-burn sensitivity run/model --plan-bits 3 --html sensitivity.html
      and assign bit widths with an average of 3 bits per weight";

/// Measure how much the quantization of each layer increases the loss.
///
/// MODEL is in full precision or has latent weights; the text is read 2 + layers * (2 + widths) times.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of a model, or a GGUF file of floats
    model: PathBuf,
    /// Bit widths of weights that are measured besides ternary ones
    #[arg(long, num_args = 0.., value_name = "N", default_values_t = [4, 8],
          value_parser = clap::value_parser!(u8).range(2..=8))]
    bits: Vec<u8>,
    /// Choose bit widths with at most this average of bits per weight
    #[arg(long, value_name = "X")]
    plan_bits: Option<f64>,
    /// Write a page with a chart
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    #[command(flatten)]
    text: TextArguments,
    #[command(flatten)]
    read: ReadArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

pub fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let device = arguments.device.device()?;
    let file = ModelFile::find(&arguments.model)?;
    let (read, text) = (&arguments.read, &arguments.text);
    let (tokenizer, _) = model_file::tokenizer(&file, read, text.tokenizer.as_deref())?;
    let model = file.load(read, &device, output)?;
    model_file::check_vocabulary(&model, &tokenizer)?;
    let windows = text.windows(tokenizer, model.config.max_positions, &device)?;
    let lm = model.into_qat(&QatScheme::b1_58()).ok_or_else(|| {
        Failure::failed(format!(
            "{}: expected unpacked weights, found packed ones, which stay quantized",
            arguments.model.display()
        ))
    })?;
    let controls = QuantControls::of(&lm);
    let widths = arguments.bits.iter().map(|bits| BitWidth::Bits(*bits));
    let sensitivity = Sensitivity::new(widths);
    let layers = controls.layers().len();
    let total = 2 + layers * (2 + arguments.bits.len());
    let mut done = 0;
    let report = on_pool(arguments.device.name(), || {
        sensitivity.measure(&controls, || {
            done += 1;
            if done == 1 || done % layers.max(1) == 0 {
                output.note(format!("loss {done} of {total}"));
            }
            loss(&lm, &windows).map(|evaluation| evaluation.loss)
        })
    });
    let report = report.map_err(|error| Failure::failed(error.to_string()))?;
    let plan = arguments.plan_bits.map(|bits| {
        let plan = MixedPrecisionPlan::within(PlanBudget::BitsPerWeight(bits), &report);
        plan.map_err(|error| Failure::failed(format!("--plan-bits {bits}: {error}")))
    });
    let plan = plan.transpose()?;
    if let Some(path) = &arguments.html {
        let title = format!("Sensitivity of the layers of {}", file.path().display());
        HtmlReport::new(title, &ErrorHistory::default())
            .with_sensitivity(report.bars())
            .save(path)?;
    }
    output.result(
        || json!({"model": file.path(), "sensitivity": report, "plan": plan}),
        || match &plan {
            Some(plan) => format!("{report}\nplan:\n{plan}"),
            None => report.to_string(),
        },
    )
}
