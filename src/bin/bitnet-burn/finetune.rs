//! `bitnet-burn finetune`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bitnet_burn::{
    interop::{self, CausalLm, PretrainedLm},
    nn::{BitNetLm, BitNetLmConfig, Projection},
    peft::{AdapterBase, PeftConfig},
};
use burn::nn::Linear;

use crate::{
    base::{Base, BaseLm, LmTask, trained},
    bit_fit,
    error::Failure,
    flags::TrainingFlags,
    model_file::{self, GgufArguments, ModelFile, ReadArguments, TokenizerFolder},
    model_settings::ModelSettings,
    output::Output,
    peft_flags::PeftArguments,
    settings::{Precision, Settings},
    training::{Job, SpecialTokens},
};

/// Peak learning rate, low enough to keep what the model has learned.
const LEARNING_RATE: f64 = 1e-3;

const EXAMPLES: &str = "\
Examples:
  bitnet-burn finetune llama --text book.txt --out run --insert-sub-norm --progressive 200
      converts a full-precision model to BitNet gradually
  bitnet-burn finetune run/model --text chats.jsonl --records messages --out tuned
      trains a quantized model further
  bitnet-burn finetune llama --text book.txt --out run --precision fp --learning-rate 3e-5
      trains all weights in full precision
  bitnet-burn finetune llama --text book.txt --out run --insert-sub-norm --progressive 200 --resume
  bitnet-burn finetune llama --text book.txt --out run --peft lora --rank 16 --base nf4
      trains adapters beside 4-bit weights (QLoRA), for eval, generate and merge with --adapter run/adapter
  bitnet-burn finetune llama --text book.txt --out run --peft bitfit
      trains biases, which the model in run/model has from then on";

/// Fine-tune a Hugging Face model: all weights, into a BitNet model or in full precision, or adapters beside frozen
/// weights.
///
/// MODEL is a folder of the Llama or BitNet family, in full precision or with latent (master) weights, or
/// a GGUF file in full precision. 4-bit weights of bitsandbytes, which adapters are trained beside as they are, and
/// llama.cpp's quantized types are dequantized.
/// Writes DIR/model with the files of MODEL's tokenizer, or DIR/adapter. Biases (--peft bitfit) are parts of a model, which is
/// written as a whole.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of a model, or a GGUF file
    model: PathBuf,
    /// Insert norms before the last projections of the blocks, as in BitNet models, if there are none
    #[arg(long, help_heading = "Model")]
    insert_sub_norm: bool,
    /// Train all weights in full precision, or quantized, into a BitNet model [default: qat]
    #[arg(
        long,
        value_name = "KIND",
        conflicts_with = "peft",
        help_heading = "Training"
    )]
    precision: Option<Precision>,
    #[command(flatten)]
    peft: PeftArguments,
    #[command(flatten)]
    gguf: GgufArguments,
    #[command(flatten)]
    training: TrainingFlags,
}

impl Arguments {
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = self.training.settings(LEARNING_RATE)?;
        self.peft.apply(&mut settings)?;
        let run = &mut settings.run;
        run.precision = match settings.training.peft {
            // The base decides.
            Some(_) => Precision::Qat,
            None => self.precision.unwrap_or(run.precision),
        };
        run.insert_sub_norm |= self.insert_sub_norm;
        if run.insert_sub_norm && settings.training.peft.is_some() {
            return Err(Failure::usage(
                "--insert-sub-norm changes what the model computes, which adapters cannot repair: fine-tune all \
                 weights first",
            ));
        }
        Ok(settings)
    }
}

pub fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let mut settings = arguments.settings()?;
    let device = bitnet_burn::device(&settings.run.device)?;
    let read = ReadArguments {
        gguf: arguments.gguf,
        ..Default::default()
    };
    let file = ModelFile::find(&arguments.model)?;
    let other = settings.data.tokenizer.clone();
    let (tokenizer, template) = model_file::tokenizer(&file, &read, other.as_deref())?;
    model_file::note_unknown(tokenizer.unknown_keys(), output);
    let files = file.tokenizer_folder(&read)?;
    // Loaded with the positions of the file, which the saved model keeps.
    let model = file.load(&read, &device.clone().autodiff(), output)?;
    let prompt = settings.training.peft.as_ref();
    let prompt = prompt.map_or(0, PeftConfig::num_virtual_tokens);
    let positions = model.config.max_positions.saturating_sub(prompt);
    if settings.data.context > positions {
        return Err(Failure::usage(format!(
            "--context is at most the {positions} positions of the model for tokens, got {}",
            settings.data.context
        )));
    }
    model_file::check_vocabulary(&model, &tokenizer)?;
    if arguments.peft.leaves_biases_open()
        && let Some(PeftConfig::BitFit(bit_fit)) = &mut settings.training.peft
    {
        bit_fit.targets = bit_fit::default_targets(&model.config).into();
    }
    let mut config = model.config.clone();
    if settings.training.peft.is_none() {
        config.sub_norm |= settings.run.insert_sub_norm;
        config.scheme = settings.training.qat.clone();
    }
    settings.model = ModelSettings::of_source(&arguments.model, &config)?;
    let job = Job {
        settings,
        flags: &arguments.training,
        output,
        command: format!("finetune {}", arguments.model.display()),
        tokenizer: Arc::new(tokenizer),
        template,
        tokenizer_folder: match &other {
            Some(path) => path.is_dir().then_some(path.as_path()),
            None => files.as_ref().map(TokenizerFolder::path),
        },
        config,
        special: SpecialTokens {
            bos: model.bos_token_id,
            eos: model.eos_token_ids.clone(),
            pad: model.pad_token_id,
        },
        device,
    };
    match job.settings.training.peft.clone() {
        Some(peft) => adapters(job, model, peft),
        None => all_weights(job, model, &arguments.model),
    }
}

/// Trains all weights, quantized or in full precision.
fn all_weights(job: Job<'_>, model: PretrainedLm, path: &Path) -> Result<(), Failure> {
    let (scheme, memory) = (job.config.scheme.clone(), job.settings.run.memory);
    let insert = job.config.sub_norm && !model.config.sub_norm;
    match job.settings.run.precision {
        Precision::Qat => job.run(
            |config, _| {
                let lm = model.into_qat(&scheme).ok_or_else(|| {
                    Failure::failed(format!(
                        "{}: expected trainable weights, found packed ones: fine-tune the model that they were \
                         packed from, or train adapters beside them with --peft lora",
                        path.display()
                    ))
                })?;
                Ok(memory.cast(with_sub_norms(lm, insert, config)))
            },
            |job, lm| job.save(CausalLm::Qat(lm)),
        ),
        Precision::Fp => job.run(
            |config, _| Ok(with_sub_norms(full_precision(model.lm)?, insert, config)),
            |job, lm| job.save(CausalLm::Full(lm)),
        ),
    }
}

fn with_sub_norms<P: Projection>(
    lm: BitNetLm<P>,
    insert: bool,
    config: &BitNetLmConfig,
) -> BitNetLm<P> {
    match insert {
        true => lm.insert_sub_norms(config.rms_norm_epsilon),
        false => lm,
    }
}

/// Returns a model in full precision, from one that has no quantizers.
fn full_precision(lm: CausalLm) -> Result<BitNetLm<Linear>, Failure> {
    match lm.dequantize() {
        CausalLm::Full(lm) => Ok(lm),
        lm => Err(Failure::usage(format!(
            "--precision fp does not fit a model with {} weights",
            lm.form()
        ))),
    }
}

/// Trains adapters beside frozen weights.
fn adapters(mut job: Job<'_>, model: PretrainedLm, peft: PeftConfig) -> Result<(), Failure> {
    let base = match (&peft, &model.lm) {
        // Packed, the model that is saved would have no latent weights any more.
        (PeftConfig::BitFit(_), CausalLm::Qat(_)) => job.settings.run.base.or(Some(Base::Float)),
        _ => job.settings.run.base,
    };
    let base = BaseLm::new(model.lm, base)?;
    if !matches!(base, BaseLm::Latent(_)) {
        // There are no quantizers to set.
        job.settings.run.precision = Precision::Fp;
    }
    base.run(Adapters { job, peft })
}

/// Name of the adapter in the model.
const ADAPTER: &str = "default";

struct Adapters<'a> {
    job: Job<'a>,
    peft: PeftConfig,
}

impl LmTask for Adapters<'_> {
    type Output = ();

    fn run<P: AdapterBase>(
        self,
        lm: BitNetLm<P>,
        form: fn(BitNetLm<P>) -> CausalLm,
    ) -> Result<(), Failure> {
        let Self { mut job, peft } = self;
        if let PeftConfig::BitFit(config) = &peft {
            job.config.bias = bit_fit::biases(config, &lm, &job.config)?;
        }
        let (output, peft) = (job.output, &peft);
        job.run(
            |_, _| {
                let (lm, report) = trained(lm).with_adapter(ADAPTER, peft)?;
                output.note(report.to_string());
                Ok(lm)
            },
            |job, lm| match peft {
                PeftConfig::BitFit(_) => {
                    let (lm, _) = lm.merge(None);
                    job.save(form(lm.with_biases(job.config.bias)))
                }
                _ => {
                    let folder = job.flags.folder().adapter();
                    interop::peft::save(&folder, &lm, ADAPTER, peft)?;
                    Ok(folder)
                }
            },
        )
    }
}
