//! `bitnet-burn finetune`.

use std::{path::PathBuf, sync::Arc};

use bitnet_burn::{interop::CausalLm, nn::BitLinear, qat::cast_latent_weights};
use burn::tensor::FloatDType;

use crate::{
    device::device,
    error::Failure,
    flags::TrainingFlags,
    model_file::{self, GgufArguments, ModelFile, ReadArguments, TokenizerFolder},
    output::Output,
    settings::{Memory, ModelSettings, Precision},
    training::{Job, SpecialTokens},
};

/// Peak of the learning rate of a model that must not forget what it knows.
const LEARNING_RATE: f64 = 1e-3;

const EXAMPLES: &str = "\
Examples:
  bitnet-burn finetune llama --text book.txt --out run --insert-sub-norm --progressive 200
      a model in full precision becomes a BitNet model, little by little
  bitnet-burn finetune run/model --text chats.jsonl --records messages --out tuned
      one that is quantised already learns more
  bitnet-burn finetune llama --text book.txt --out run --insert-sub-norm --progressive 200 --resume";

/// Fine-tune a model of Hugging Face into a BitNet model, all of its weights.
///
/// MODEL is a folder of the Llama or BitNet family, in full precision or with latent (master) weights, or
/// a GGUF file in full precision or of one of llama.cpp's quantized types, whose weights become floats.
/// Writes DIR/model with the files of MODEL's tokenizer.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The folder of a model, or a GGUF file
    model: PathBuf,
    /// Put norms before the last projections of the blocks, as BitNet models have them, if there are none
    #[arg(long, help_heading = "Model")]
    insert_sub_norm: bool,
    #[command(flatten)]
    gguf: GgufArguments,
    #[command(flatten)]
    training: TrainingFlags,
}

pub fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let mut settings = arguments.training.settings(LEARNING_RATE)?;
    settings.run.precision = Precision::Qat;
    settings.run.insert_sub_norm |= arguments.insert_sub_norm;
    let device = device(&settings.run.device)?;
    let read = ReadArguments {
        gguf: arguments.gguf,
        ..Default::default()
    };
    let file = ModelFile::find(&arguments.model)?;
    let other = settings.data.tokenizer.clone();
    let (tokenizer, template) = model_file::tokenizer(&file, &read, other.as_deref())?;
    model_file::note_unknown(tokenizer.unknown_keys(), output);
    let files = file.tokenizer_folder(&read)?;
    // With the positions of the file, for what is written in the end.
    let model = file.load(&read, &device.clone().autodiff(), output)?;
    let positions = model.config.max_positions;
    if settings.data.context > positions {
        return Err(Failure::usage(format!(
            "--context is at most the {positions} positions of the model, got {}",
            settings.data.context
        )));
    }
    model_file::check_vocabulary(&model, &tokenizer)?;
    let mut config = model.config.clone();
    let scheme = settings.training.qat.clone();
    let insert = settings.run.insert_sub_norm && !config.sub_norm;
    config.sub_norm |= insert;
    config.scheme = scheme.clone();
    settings.model = ModelSettings::of_source(&arguments.model, &config)?;
    let memory = settings.run.memory;
    let job = Job {
        settings,
        flags: &arguments.training,
        output,
        resume: format!(
            "bitnet-burn finetune {} --out {} --resume",
            arguments.model.display(),
            arguments.training.out.display()
        ),
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
    job.run::<BitLinear>(
        |config, _| {
            let lm = model.into_qat(&scheme).ok_or_else(|| {
                Failure::failed(format!(
                    "{}: expected weights that train, found packed ones: fine-tune the model that they \
                     were packed from",
                    arguments.model.display()
                ))
            })?;
            let lm = match insert {
                true => lm.insert_sub_norms(config.rms_norm_epsilon),
                false => lm,
            };
            Ok(match memory {
                Memory::Full => lm,
                Memory::Small => cast_latent_weights(lm, FloatDType::BF16),
            })
        },
        CausalLm::Qat,
    )
}
