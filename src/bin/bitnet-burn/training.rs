//! A training, from scratch or from a model file.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        hf::{self, SaveOptions},
    },
    nn::{BitNetLm, BitNetLmConfig, Projection},
    text::{ChatTemplate, Tokenizer, dataset::TextData},
    train::{
        LanguageModel, MemoryPlanConfig, OptimizerStates, Trainer, TrainingReport,
        callback::Interruption, checkpoint::Resume, config::OptimizerKind,
    },
};
use burn::{module::Module, tensor::Device};
use serde_json::json;

use crate::{
    device::on_pool,
    error::Failure,
    flags::TrainingFlags,
    interrupt,
    model_file::add_ends,
    output::Output,
    progress::Progress,
    settings::Settings,
    weight_form::{is_tied, weight_form},
};

/// A training to start or resume.
pub struct Job<'a> {
    pub settings: Settings,
    pub flags: &'a TrainingFlags,
    pub output: Output,
    /// Command that is resumed, without its flags.
    pub command: String,
    pub tokenizer: Arc<Tokenizer>,
    pub template: Option<ChatTemplate>,
    /// Folder of the tokenizer's files; `None` for a tokenizer built from the text.
    pub tokenizer_folder: Option<&'a Path>,
    pub config: BitNetLmConfig,
    /// Special tokens of the model file, beside those of the tokenizer.
    pub special: SpecialTokens,
    pub device: Device,
}

/// Special tokens of a model that is fine-tuned.
#[derive(Debug, Clone, Default)]
pub struct SpecialTokens {
    pub bos: Option<u32>,
    pub eos: Vec<u32>,
    pub pad: Option<u32>,
}

impl Job<'_> {
    /// Trains the model, and saves it: `save` returns what it wrote.
    pub fn run<P: Projection>(
        mut self,
        init: impl FnOnce(&BitNetLmConfig, &Device) -> Result<BitNetLm<P>, Failure> + Send,
        save: impl FnOnce(&Self, BitNetLm<P>) -> Result<PathBuf, Failure>,
    ) -> Result<(), Failure> {
        self.settings.check()?;
        self.open_folder()?;
        let data = self.load_data()?;
        let training = &self.settings.training;
        let (steps, seed) = (training.training.steps, training.training.seed);
        let interruption = Interruption::with_flag(interrupt::flag()?);
        let progress = Progress::new(
            self.output,
            steps,
            training.monitoring.progress_every.unwrap_or(usize::MAX),
            self.settings.tokens_per_step(),
        );
        let (lm, report) = on_pool(&self.settings.run.device, || {
            self.device.seed(seed);
            let lm = init(&self.config, &self.device.clone().autodiff())?;
            self.train(lm, data, &progress, interruption.clone())
        })?;
        progress.finish();
        let interrupted = interruption.flag().load(Ordering::SeqCst);
        match interrupted && !report.is_complete {
            true => self.say_interrupted(&report),
            false => {
                let saved = save(&self, lm)?;
                self.say_done(&saved, &report)
            }
        }
    }

    /// Prepares the folder, or checks the run in it.
    fn open_folder(&mut self) -> Result<(), Failure> {
        let (folder, settings) = (self.flags.folder(), &mut self.settings);
        let resume = match (self.flags.resume, self.flags.overwrite) {
            (true, _) => {
                let step = folder.resume()?;
                let began = Settings::load(Some(&folder.settings()), 0.0)?;
                began.identity()?.check(&settings.identity()?)?;
                self.output.note(format!("resuming after step {step}"));
                Resume::Latest
            }
            (false, true) => {
                folder.overwrite(&settings.to_toml()?)?;
                Resume::Never
            }
            (false, false) => {
                folder.begin(&settings.to_toml()?)?;
                Resume::Never
            }
        };
        if let Some(policy) = &mut settings.training.checkpoints {
            policy.resume = resume;
        }
        Ok(())
    }

    fn load_data(&self) -> Result<TextData, Failure> {
        let (run, config) = (&self.settings.training.training, &self.settings.data);
        let per_step = run.grad_accumulation;
        let data = config.load(
            &self.tokenizer,
            self.template.clone(),
            run.steps * per_step,
            self.settings.steps_per_epoch() * per_step,
            run.seed,
        )?;
        let batches = match per_step {
            1 => String::new(),
            batches => format!("{batches} x "),
        };
        self.output.note(format!(
            "{} steps of {batches}{} x {} tokens",
            run.steps, config.batch, config.context
        ));
        self.output.note(format!(
            "{} tokens to train on, {} to validate on; a vocabulary of {}",
            data.train_tokens, data.valid_tokens, self.config.vocab_size
        ));
        Ok(data)
    }

    fn train<P: Projection>(
        &self,
        lm: BitNetLm<P>,
        data: TextData,
        progress: &Progress,
        interruption: Interruption,
    ) -> Result<(BitNetLm<P>, TrainingReport), Failure> {
        let config = self.settings.training()?;
        self.say_sizes(&lm, config.optimizer.kind);
        let checkpointing = config.training.gradient_checkpointing;
        let model = LanguageModel::new(lm).with_gradient_checkpointing(checkpointing);
        let trainer = Trainer::new(model, config)?
            .with_token_losses()
            .with_metrics_folder(self.flags.folder().metrics())
            .with_callback(progress.clone())
            .with_callback(interruption);
        let trained = trainer.train(data.train, data.valid)?;
        Ok((trained.model.lm, trained.report))
    }

    fn say_sizes<P: Projection>(&self, lm: &BitNetLm<P>, optimizer: OptimizerKind) {
        let data = &self.settings.data;
        let states = match optimizer {
            OptimizerKind::AdamW => OptimizerStates::AdamW,
            _ => OptimizerStates::AdamW8bit,
        };
        let checkpointing = self.settings.training.training.gradient_checkpointing;
        let plan = MemoryPlanConfig::new(data.batch, data.context)
            .with_optimizer(states)
            .with_gradient_checkpointing(checkpointing);
        let plan = plan.plan(lm);
        let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
        self.output.note(format!(
            "{} parameters; memory: weights {:.1}, gradients {:.1}, optimizer {:.1}, activations {:.1}, \
             peak {:.1} MiB",
            lm.num_params(),
            mib(plan.weights),
            mib(plan.gradients),
            mib(plan.optimizer),
            mib(plan.activations),
            mib(plan.peak)
        ));
    }

    fn say_interrupted(&self, report: &TrainingReport) -> Result<(), Failure> {
        let (step, steps) = (report.steps, self.settings.training.training.steps);
        let (command, out) = (&self.command, self.flags.out.display());
        let resume = format!("bitnet-burn {command} --out {out} --resume");
        self.output.event(
            &json!({"kind": "interrupted", "step": step, "steps": steps, "resume": resume}),
            &format!("interrupted and saved after step {step} of {steps}; resume with: {resume}"),
        )
    }

    /// Writes the trained model to the folder of the run, and returns its path.
    pub fn save(&self, lm: CausalLm) -> Result<PathBuf, Failure> {
        let folder = self.flags.folder();
        let special = &self.special;
        let config = self.config.clone().with_tied_embeddings(is_tied(&lm));
        let options = SaveOptions::new(weight_form(&lm, self.flags.dtype));
        let mut model = PretrainedLm::new(config, lm);
        model.bos_token_id = special.bos.or(self.tokenizer.bos());
        model.eos_token_ids = special.eos.clone();
        model.pad_token_id = special.pad;
        add_ends(&mut model, &self.tokenizer);
        let tokenizer = match self.tokenizer_folder {
            Some(folder) => folder.to_path_buf(),
            None => {
                let tokenizer = Tokenizer::clone(&self.tokenizer);
                let tokenizer = tokenizer.with_model_max_length(self.config.max_positions);
                tokenizer.save(folder.tokenizer())?;
                folder.tokenizer()
            }
        };
        let options = options
            .with_tokenizer(Some(tokenizer))
            // Existing files belong to this run: others were rejected at the beginning.
            .with_overwrite(true);
        hf::save(folder.model(), &model, &options)?;
        Ok(folder.model())
    }

    fn say_done(&self, folder: &Path, report: &TrainingReport) -> Result<(), Failure> {
        let (seconds, loss) = (report.seconds, report.valid_loss);
        let tokens = report.steps_here * self.settings.tokens_per_step();
        let rate = tokens as f64 / seconds.max(1e-9);
        let what = match folder == self.flags.folder().adapter() {
            true => "adapter",
            false => "model",
        };
        let line = json!({
            "kind": "done",
            "step": report.steps,
            "validation_loss": loss,
            "perplexity": loss.map(f64::exp),
            "seconds": seconds,
            "tokens_per_second": rate,
            (what): folder,
        });
        let loss = loss.map_or(String::new(), |loss| {
            format!("validation loss {loss:.4}, perplexity {:.3}, ", loss.exp())
        });
        let text = format!(
            "{} steps, {loss}{seconds:.1} s of training, {rate:.0} tokens/s\nsaved the {what} to {}",
            report.steps,
            folder.display()
        );
        self.output.event(&line, &text)
    }
}
