//! Adapters of eval, generate and merge.

use std::path::PathBuf;

use bitnet_burn::{
    interop::{CausalLm, peft},
    nn::{BitNetLm, Projection},
    peft::{AdaptedLinear, AdapterBase},
};

use crate::{
    base::{Base, BaseLm, LmTask},
    error::Failure,
    model_file::note_unknown,
    output::Output,
};

/// Adapters beside the weights of a model.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct AdapterArguments {
    /// Folder of an adapter as peft saves it; may be repeated, and all are active
    #[arg(long, value_name = "DIR")]
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
        lm: CausalLm,
        task: T,
        output: Output,
    ) -> Result<T::Output, Failure> {
        BaseLm::new(lm, self.base)?.run(WithAdapters {
            folders: &self.adapter,
            task,
            output,
        })
    }
}

struct WithAdapters<'a, T> {
    folders: &'a [PathBuf],
    task: T,
    output: Output,
}

impl<T: InferenceTask> LmTask for WithAdapters<'_, T> {
    type Output = T::Output;

    fn run<P: AdapterBase>(self, lm: BitNetLm<P>) -> Result<T::Output, Failure> {
        match self.folders {
            [] => self.task.run(&lm),
            folders => self.task.run(&attached(lm, folders, self.output)?),
        }
    }
}

/// Adds the adapters of folders, all of them active, under the names of their folders.
pub fn attached<P: AdapterBase>(
    lm: BitNetLm<P>,
    folders: &[PathBuf],
    output: Output,
) -> Result<BitNetLm<AdaptedLinear<P>>, Failure> {
    let mut lm = lm.map_projections(|_, base| AdaptedLinear::new(base));
    let mut names = Vec::new();
    for folder in folders {
        let adapter = peft::load(folder)?;
        note_unknown(&adapter.unknown_keys, output);
        let name = folder.display().to_string();
        lm = adapter.add(lm, &name)?;
        names.push(name);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    Ok(lm.with_active_adapters(&names)?)
}
