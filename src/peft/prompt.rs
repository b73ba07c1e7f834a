//! Prompts among the adapters of a language model.

use burn::module::Module;

use super::{
    AdaptedLinear, AdaptedModule, AdapterBase, PeftError, ends, peft_config::NewPrompt,
    prompt_host::PromptHost,
};
use crate::nn::{BitNetLm, Prompt};

impl<P: AdapterBase> BitNetLm<AdaptedLinear<P>> {
    /// Returns the prompt of a name.
    pub fn prompt(&self, name: &str) -> Option<&Prompt> {
        let prompt = self.model.prompt.as_ref();
        prompt.filter(|prompt| prompt.name() == name)
    }

    /// Adds a prompt, which becomes active in place of the adapters.
    pub(super) fn add_prompt(
        self,
        name: &str,
        new: &NewPrompt<'_>,
    ) -> Result<(Self, AdaptedModule), PeftError> {
        if let Some(existing) = &self.model.prompt {
            return Err(PeftError::PromptExists {
                name: name.to_string(),
                existing: existing.name().to_string(),
            });
        }
        let prompt = new(name, &PromptHost::of(&self))?;
        let module = AdaptedModule {
            name: "model.prompt".to_string(),
            num_params: prompt.num_params(),
        };
        let mut lm = self.map_projections(|_, mut linear| {
            linear.set_active(&[]);
            linear
        });
        ends::set_active(&mut lm, &[]);
        lm.model.prompt = Some(prompt);
        Ok((lm, module))
    }

    /// Switches the prompt on if it has one of the names, and off otherwise.
    pub(super) fn with_active_prompt(mut self, names: &[&str]) -> Self {
        let prompt = self.model.prompt.take();
        self.model.prompt = prompt.map(|prompt| {
            let is_active = names.contains(&prompt.name());
            prompt.with_active(is_active)
        });
        self
    }

    /// Removes the prompt if `remove` holds for it.
    pub(super) fn without_prompt(mut self, remove: impl Fn(&Prompt) -> bool) -> Self {
        self.model.prompt = self.model.prompt.filter(|prompt| !remove(prompt));
        self
    }
}
