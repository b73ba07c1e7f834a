//! Adapters of eval, generate and merge.

use std::path::PathBuf;

use bitnet_burn::{
    interop::{CausalLm, PretrainedLm},
    nn::{BitNetLm, BitNetLmConfig, Projection},
    peft::{AdaptedLinear, AdapterBase},
};

use crate::{
    adapter_file::AdapterFile,
    base::{Base, BaseLm, LmTask},
    error::Failure,
    model_file::note_unknown,
    output::Output,
};

/// Adapters beside the weights of a model.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct AdapterArguments {
    /// Folder of an adapter as peft saves it, or a GGUF adapter; may be repeated, and all are active
    #[arg(long, value_name = "PATH")]
    pub adapter: Vec<PathBuf>,
    /// Form of the base weights [default: that of the file; latent weights are packed]
    #[arg(long, value_name = "FORM")]
    pub base: Option<Base>,
}

/// Task for a model in inference, with or without adapters.
pub trait InferenceTask {
    type Output;

    fn run<P: Projection>(self, lm: &BitNetLm<P>) -> Result<Self::Output, Failure>;
}

impl AdapterArguments {
    /// Runs a task with the model in its base form and its adapters.
    pub fn run<T: InferenceTask>(
        &self,
        model: PretrainedLm,
        task: T,
        output: Output,
    ) -> Result<T::Output, Failure> {
        BaseLm::new(model.lm, self.base)?.run(WithAdapters {
            paths: &self.adapter,
            model: &model.config,
            task,
            output,
        })
    }
}

struct WithAdapters<'a, T> {
    paths: &'a [PathBuf],
    model: &'a BitNetLmConfig,
    task: T,
    output: Output,
}

impl<T: InferenceTask> LmTask for WithAdapters<'_, T> {
    type Output = T::Output;

    fn run<P: AdapterBase>(
        self,
        lm: BitNetLm<P>,
        _form: fn(BitNetLm<P>) -> CausalLm,
    ) -> Result<T::Output, Failure> {
        match self.paths {
            [] => self.task.run(&lm),
            paths => {
                let lm = attached(lm, self.model, paths, self.output)?;
                self.task.run(&lm)
            }
        }
    }
}

/// Adds the adapters of files, all of them active, under the names of their paths.
pub fn attached<P: AdapterBase>(
    lm: BitNetLm<P>,
    model: &BitNetLmConfig,
    paths: &[PathBuf],
    output: Output,
) -> Result<BitNetLm<AdaptedLinear<P>>, Failure> {
    let mut lm = lm.map_projections(|_, base| AdaptedLinear::new(base));
    let mut names = Vec::new();
    for path in paths {
        let adapter = AdapterFile::expect(path)?.load(model)?;
        note_unknown(&adapter.unknown_keys, output);
        let name = path.display().to_string();
        lm = adapter.add(lm, &name)?;
        names.push(name);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(lm.with_active_adapters(&names)?)
}
