//! `bitnet-burn finetune`.

use std::{path::PathBuf, sync::Arc};

use bitnet_burn::{interop::CausalLm, ops};

use crate::{
    error::Failure,
    flags::TrainingFlags,
    model_file::{self, GgufArguments, ModelFile, ReadArguments, TokenizerFolder},
    model_settings::ModelSettings,
    output::Output,
    settings::Precision,
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
  bitnet-burn finetune llama --text book.txt --out run --insert-sub-norm --progressive 200 --resume";

/// Fine-tune all weights of a Hugging Face model into a BitNet model.
///
/// MODEL is a folder of the Llama or BitNet family, in full precision or with latent (master) weights, or
/// a GGUF file in full precision or one of llama.cpp's quantized types, which is dequantized.
/// Writes DIR/model with the files of MODEL's tokenizer.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of a model, or a GGUF file
    model: PathBuf,
    /// Insert norms before the last projections of the blocks, as in BitNet models, if there are none
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
    let device = ops::device(&settings.run.device)?;
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
    job.run(
        |config, _| {
            let lm = model.into_qat(&scheme).ok_or_else(|| {
                Failure::failed(format!(
                    "{}: expected trainable weights, found packed ones: fine-tune the model that they \
                     were packed from",
                    arguments.model.display()
                ))
            })?;
            let lm = match insert {
                true => lm.insert_sub_norms(config.rms_norm_epsilon),
                false => lm,
            };
            Ok(memory.cast(lm))
        },
        CausalLm::Qat,
    )
}
