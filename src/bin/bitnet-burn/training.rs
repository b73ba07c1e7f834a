//! A training, from scratch or from a model file.

use std::{
    io::Write,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use bitnet_burn::{
    base::atomic_file,
    interop::{
        CausalLm, PretrainedLm,
        hf::{self, SaveOptions, WeightForm},
    },
    nn::{BitNetLm, BitNetLmConfig, Projection},
    text::{ChatTemplate, Tokenizer},
    train::{
        LanguageModel, MemoryPlanConfig, OptimizerStates, Trainer, TrainingReport,
        callback::Interruption,
        checkpoint::Resume,
        config::{MonitoringConfig, OptimizerKind},
    },
};
use burn::{module::Module, tensor::Device};
use serde_json::json;
use toml::{Table, Value};

use crate::{
    convert::FloatType,
    data::{Course, Loaders},
    device::on_pool,
    error::Failure,
    flags::TrainingFlags,
    interrupt,
    output::Output,
    progress::Progress,
    run_folder,
    settings::{Memory, Precision, Settings},
};

/// A training to start or resume.
pub struct Job<'a> {
    pub settings: Settings,
    pub flags: &'a TrainingFlags,
    pub output: Output,
    /// Command that resumes the training.
    pub resume: String,
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
    /// Trains and saves the model.
    pub fn run<P: Projection>(
        mut self,
        init: impl FnOnce(&BitNetLmConfig, &Device) -> Result<BitNetLm<P>, Failure> + Send,
        causal_lm: fn(BitNetLm<P>) -> CausalLm,
    ) -> Result<(), Failure> {
        self.check()?;
        self.open_folder()?;
        let loaders = self.loaders()?;
        let [train, valid] = loaders.tokens;
        let (run, data) = (&self.settings.training.training, &self.settings.data);
        let batches = match run.grad_accumulation {
            1 => String::new(),
            batches => format!("{batches} x "),
        };
        self.output.note(format!(
            "{} steps of {batches}{} x {} tokens",
            run.steps, data.batch, data.context
        ));
        self.output.note(format!(
            "{train} tokens to train on, {valid} to validate on; a vocabulary of {}",
            self.config.vocab_size
        ));
        let flag = interrupt::flag()?;
        let interruption = Interruption::with_flag(flag);
        let run = &self.settings.training.training;
        let progress = Progress::new(
            self.output,
            run.steps,
            self.settings
                .training
                .monitoring
                .progress_every
                .unwrap_or(usize::MAX),
            self.tokens_per_step(),
        );
        let (lm, report) = on_pool(&self.settings.run.device, || {
            self.device.seed(self.settings.training.training.seed);
            let lm = init(&self.config, &self.device.clone().autodiff())?;
            self.train(lm, loaders, &progress, interruption.clone())
        })?;
        progress.finish();
        let interrupted = interruption.flag().load(Ordering::SeqCst);
        match interrupted && !report.is_complete {
            true => self.say_interrupted(&report),
            false => self.save(causal_lm(lm), &report),
        }
    }

    fn tokens_per_step(&self) -> usize {
        let data = &self.settings.data;
        self.settings.training.training.grad_accumulation * data.batch * data.context
    }

    /// Rejects settings that would fail only at the end.
    fn check(&mut self) -> Result<(), Failure> {
        let steps = self.settings.training.training.steps;
        let training = &mut self.settings.training;
        if self.settings.run.precision == Precision::Fp {
            // There are no quantizers to schedule or to measure.
            training.schedule = Default::default();
            training.monitoring.errors = None;
            training.qat.noise = None;
            training.calibration = None;
            if self.settings.run.memory == Memory::Small {
                return Err(Failure::usage(
                    "--memory small is for --precision qat, whose latent weights are rounded",
                ));
            }
        }
        if let Some(schedule) = &training.schedule.progressive
            && schedule.end() >= steps
        {
            return Err(Failure::usage(format!(
                "--progressive is less than the {steps} steps of the training, which ends fully \
                 quantized, got {}",
                schedule.end()
            )));
        }
        Ok(())
    }

    /// Prepares the folder, or checks the run in it.
    fn open_folder(&mut self) -> Result<(), Failure> {
        let out = &self.flags.out;
        let path = run_folder::config(out);
        if self.flags.resume {
            let step = run_folder::last_step(out)?;
            check_same(&Settings::load(Some(&path), 0.0)?, &self.settings)?;
            self.output.note(format!("resuming after step {step}"));
        } else {
            run_folder::begin(out, self.flags.overwrite)?;
            let toml = self.settings.to_toml()?;
            let written = atomic_file::write(&path, |file| file.write_all(toml.as_bytes()));
            written.map_err(Failure::io(&path))?;
        }
        if let Some(policy) = &mut self.settings.training.checkpoints {
            policy.resume = match self.flags.resume {
                true => Resume::Latest,
                false => Resume::Never,
            };
        }
        Ok(())
    }

    fn loaders(&self) -> Result<Loaders, Failure> {
        let run = &self.settings.training.training;
        let course = Course {
            steps: run.steps * run.grad_accumulation,
            steps_per_epoch: self.settings.steps_per_epoch() * run.grad_accumulation,
            seed: run.seed,
        };
        let data = &self.settings.data;
        data.loaders(&self.tokenizer, self.template.clone(), &course)
    }

    fn train<P: Projection>(
        &self,
        lm: BitNetLm<P>,
        loaders: Loaders,
        progress: &Progress,
        interruption: Interruption,
    ) -> Result<(BitNetLm<P>, TrainingReport), Failure> {
        self.say_sizes(&lm);
        let mut training = self.settings.training.clone();
        // This program draws its own bar.
        training.monitoring.progress_every = None;
        if self.settings.run.memory == Memory::Small {
            training.optimizer.kind = OptimizerKind::AdamW8bit;
            training.optimizer.stochastic_rounding = true;
        }
        if let Some(policy) = &mut training.checkpoints
            && policy.fingerprint.is_empty()
        {
            policy.fingerprint = fingerprint(&self.settings)?;
        }
        let trainer = Trainer::new(LanguageModel::new(lm), training)?
            .with_token_losses()
            .with_metrics_folder(self.flags.out.join("metrics"))
            .with_callback(progress.clone())
            .with_callback(interruption);
        let trained = trainer.train(loaders.train, loaders.valid);
        let trained = trained.map_err(|error| Failure::failed(error.to_string()))?;
        Ok((trained.model.lm, trained.report))
    }

    fn say_sizes<P: Projection>(&self, lm: &BitNetLm<P>) {
        let data = &self.settings.data;
        let plan = MemoryPlanConfig::new(data.batch, data.context).with_optimizer(
            match (
                self.settings.run.memory,
                self.settings.training.optimizer.kind,
            ) {
                (Memory::Full, OptimizerKind::AdamW) => OptimizerStates::AdamW,
                _ => OptimizerStates::AdamW8bit,
            },
        );
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
        let step = report.steps;
        let steps = self.settings.training.training.steps;
        let resume = &self.resume;
        match self.output.json {
            true => self.output.line(
                &json!({"kind": "interrupted", "step": step, "steps": steps, "resume": resume})
                    .to_string(),
            ),
            false => self.output.line(&format!(
                "interrupted and saved after step {step} of {steps}; resume with: {resume}"
            )),
        }
    }

    fn save(&self, lm: CausalLm, report: &TrainingReport) -> Result<(), Failure> {
        let folder = run_folder::model(&self.flags.out);
        let mut model = PretrainedLm::new(self.config.clone(), lm);
        let special = &self.special;
        model.bos_token_id = special.bos.or(self.tokenizer.bos());
        model.eos_token_ids = special.eos.clone();
        for &end in self.tokenizer.eos_tokens() {
            if !model.eos_token_ids.contains(&end) {
                model.eos_token_ids.push(end);
            }
        }
        model.pad_token_id = special.pad;
        let made = self.flags.out.join("tokenizer");
        let tokenizer = match self.tokenizer_folder {
            Some(folder) => folder,
            None => {
                let tokenizer = Tokenizer::clone(&self.tokenizer);
                let positions = self.config.max_positions;
                tokenizer.with_model_max_length(positions).save(&made)?;
                &made
            }
        };
        let options = SaveOptions::new(WeightForm::Float(FloatType::into(self.flags.dtype)))
            .with_tokenizer(Some(tokenizer.to_path_buf()))
            // Existing files belong to this run: others were rejected at the beginning.
            .with_overwrite(true);
        hf::save(&folder, &model, &options)?;
        self.say_done(&folder, report)
    }

    fn say_done(&self, folder: &Path, report: &TrainingReport) -> Result<(), Failure> {
        let (seconds, loss) = (report.seconds, report.valid_loss);
        let tokens = report.steps_here * self.tokens_per_step();
        let rate = tokens as f64 / seconds.max(1e-9);
        if self.output.json {
            let line = json!({
                "kind": "done",
                "step": report.steps,
                "validation_loss": loss,
                "perplexity": loss.map(f64::exp),
                "seconds": seconds,
                "tokens_per_second": rate,
                "model": folder,
            });
            return self.output.line(&line.to_string());
        }
        let loss = loss.map_or(String::new(), |loss| {
            format!("validation loss {loss:.4}, perplexity {:.3}, ", loss.exp())
        });
        self.output.line(&format!(
            "{} steps, {loss}{seconds:.1} s of training, {rate:.0} tokens/s\nsaved the model to {}",
            report.steps,
            folder.display()
        ))
    }
}

/// Returns the settings that a resumed run must keep, with their names.
fn identity(settings: &Settings) -> Result<Vec<(String, String)>, Failure> {
    let mut same = settings.clone();
    same.training.monitoring = MonitoringConfig::default();
    same.training.checkpoints = None;
    same.run.device = String::new();
    let table: Table =
        toml::from_str(&same.to_toml()?).map_err(|error| Failure::failed(error.to_string()))?;
    let mut fields = Vec::new();
    flatten("", &Value::Table(table), &mut fields);
    Ok(fields)
}

fn flatten(path: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                flatten(&path, value, fields);
            }
        }
        value => fields.push((path.to_string(), value.to_string())),
    }
}

fn fingerprint(settings: &Settings) -> Result<String, Failure> {
    let fields = identity(settings)?;
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name} = {value}"));
    Ok(fields.collect::<Vec<_>>().join(", "))
}

/// Rejects resuming with other settings than those of the run.
fn check_same(began: &Settings, now: &Settings) -> Result<(), Failure> {
    let (began, now) = (identity(began)?, identity(now)?);
    let value = |fields: &[(String, String)], name: &str| {
        let field = fields.iter().find(|(other, _)| other == name);
        field.map_or("absent".to_string(), |(_, value)| value.clone())
    };
    let names = began.iter().chain(&now).map(|(name, _)| name.as_str());
    let names = std::collections::BTreeSet::from_iter(names);
    let changed = names.into_iter().filter_map(|name| {
        let (began, now) = (value(&began, name), value(&now, name));
        (began != now).then(|| format!("{name} was {began} and is {now}"))
    });
    let changed: Vec<String> = changed.collect();
    match changed.is_empty() {
        true => Ok(()),
        false => Err(Failure::usage(format!(
            "--resume: expected the settings that the run began with, found that {}: keep them, or start a \
             new run in another folder",
            changed.join(", ")
        ))),
    }
}
