use std::collections::BTreeSet;

use burn::{
    module::{Module, Param, ParamGroup, ParamId, list_param_ids},
    tensor::Tensor,
};

use super::{
    AdaptedLinear, AdaptedModule, Adapter, AdapterBase, AdapterReport, PeftConfig, PeftError,
    Targets,
    adapter::Init,
    ends::{self, End},
    peft_config::Addition,
    targets::Selection,
    trained_beside::{TrainedBeside, check_weights, with_own_head},
};
use crate::{
    base::path_visitor::{ModulePath, PathVisitor, visit_paths},
    nn::BitNetLm,
};

impl<P: AdapterBase> BitNetLm<P> {
    /// Adds an adapter to the projections that a configuration targets, or a prompt before the tokens, and freezes all
    /// other parameters, except the biases and modules that it trains as a whole. Those train in place: [`into_base`]
    /// keeps their new values.
    ///
    /// Targets by name may be the token embedding `embed_tokens` and the output head `lm_head`, too. If these are one
    /// table, each has its own adapter, as in peft: the head does not see that of the embedding.
    ///
    /// Of a model whose head is the embedding table, `modules_to_save` trains the table or the head alone, as in
    /// peft: the model [gets a head of its own](BitNetLm::with_own_head).
    ///
    /// A model without gradients, such as one that was loaded on a device without autodiff or packed, stays one: what
    /// the report counts trains as soon as [`Module::train`] turns gradients on, which the `Trainer` does itself.
    ///
    /// # Errors
    ///
    /// If the configuration is invalid or targets no projection, an initialization would round the base weight, a
    /// module that trains as a whole has a packed weight, or the model has a prompt already or is of another size than
    /// one.
    ///
    /// [`into_base`]: BitNetLm::into_base
    pub fn with_adapter(
        self,
        name: &str,
        config: impl Into<PeftConfig>,
    ) -> Result<(BitNetLm<AdaptedLinear<P>>, AdapterReport), PeftError> {
        let adapted = self.map_projections(|_, base| AdaptedLinear::new(base));
        adapted.add_adapter(name, config)
    }
}

impl<P: AdapterBase> BitNetLm<AdaptedLinear<P>> {
    /// Adds another adapter, which becomes the active one and trains; the others keep their values.
    ///
    /// # Errors
    ///
    /// As [`with_adapter`](BitNetLm::with_adapter), and if there is an adapter of this name.
    pub fn add_adapter(
        self,
        name: &str,
        config: impl Into<PeftConfig>,
    ) -> Result<(Self, AdapterReport), PeftError> {
        let config = config.into();
        if self.adapter_names().contains(name) {
            let name = name.to_string();
            return Err(PeftError::Exists { name });
        }
        check_weights(&self, config.modules_to_save())?;
        let (lm, modules, mut unmatched) = match config.addition()? {
            Addition::Prompt(new) => {
                let (lm, module) = self.add_prompt(name, &new)?;
                (lm, vec![module], Vec::new())
            }
            Addition::Adapters(targets, init) => {
                let selection = targets.compile(config.modules_to_save())?;
                let names: Vec<String> = self.projections().map(|(name, _)| name).collect();
                let ends = End::ALL.map(End::name);
                let any_end = ends.iter().any(|name| selection.matches_end(name));
                if !any_end && !names.iter().any(|name| selection.matches(name)) {
                    return Err(no_match(targets, &names));
                }
                let device = self.model.embed_tokens.weight.device();
                let (mut lm, mut modules) = self.add_to_projections(name, &selection, &init)?;
                modules.extend(ends::add(&mut lm, name, (&config, &selection), &device)?);
                let all = names.iter().map(String::as_str).chain(ends);
                let unmatched = selection.unmatched(all);
                (lm, modules, unmatched)
            }
        };
        let lm = with_own_head(lm, config.modules_to_save());
        let trained = lm.trained_with(name, &config, &mut unmatched);
        let mut values = Values {
            of: &trained,
            number: 0,
        };
        visit_paths(&lm, &mut values);
        let num_trainable = values.number;
        let group = ParamGroup::from_ids(trained);
        // Not frozen, which would turn off the dropout of the adapter, too.
        let lm = lm.no_grad().unfreeze_group(group);
        let report = AdapterReport {
            method: config.to_string(),
            modules,
            unmatched,
            num_trainable,
            num_params: lm.num_params(),
        };
        Ok((lm, report))
    }

    /// Adds an adapter to the projections that are selected, active in place of other adapters and the prompt.
    fn add_to_projections(
        self,
        name: &str,
        selection: &Selection,
        init: &Init<'_, P>,
    ) -> Result<(Self, Vec<AdaptedModule>), PeftError> {
        let device = self.model.embed_tokens.weight.device();
        let mut modules = Vec::new();
        let lm = self.with_active_prompt(&[]);
        let lm = lm.try_map_projections(|module, mut linear| -> Result<_, PeftError> {
            linear.set_active(&[]);
            if selection.matches(module) {
                let (base, adapter) = init(module, linear.base, &device)?;
                linear.base = base;
                modules.push(AdaptedModule {
                    name: module.to_string(),
                    num_params: adapter.trained().iter().map(|(_, size)| size).sum(),
                });
                linear = linear.with_adapter(name, adapter);
            }
            Ok(linear)
        })?;
        Ok((lm, modules))
    }

    /// Returns the names of the adapters, and of the prompt.
    pub fn adapter_names(&self) -> BTreeSet<String> {
        let projections = self.projections();
        let names = projections.flat_map(|(_, p)| {
            p.adapters()
                .map(|(name, _)| name.to_string())
                .collect::<Vec<_>>()
        });
        let prompt = self.model.prompt.iter();
        names
            .chain(prompt.map(|prompt| prompt.name().to_string()))
            .chain(ends::names(self))
            .collect()
    }

    /// Makes exactly these adapters active: projections [compose](AdaptedLinear) them in the order in which they were
    /// added, and the tokens stand behind a prompt that is one of them. None is the base model, also of adapters that were
    /// subtracted from it ([PiSSA](super::LoraInit::Pissa), [OLoRA](super::LoraInit::Olora)).
    ///
    /// # Errors
    ///
    /// If there is no adapter of one of the names.
    pub fn with_active_adapters(mut self, names: &[&str]) -> Result<Self, PeftError> {
        for name in names {
            self.check_name(name)?;
        }
        ends::set_active(&mut self, names);
        let lm = self.with_active_prompt(names);
        Ok(lm.map_projections(|_, mut linear| {
            linear.set_active(names);
            linear
        }))
    }

    /// Deletes an adapter or the prompt.
    ///
    /// # Errors
    ///
    /// If there is no adapter of this name.
    pub fn delete_adapter(mut self, name: &str) -> Result<Self, PeftError> {
        self.check_name(name)?;
        ends::remove(&mut self, Some(name));
        let lm = self.without_prompt(|prompt| prompt.name() == name);
        Ok(lm.map_projections(|_, linear| linear.without(name)))
    }

    /// Removes all adapters and the prompt: returns the model as it was.
    pub fn into_base(mut self) -> BitNetLm<P> {
        ends::remove(&mut self, None);
        let lm = self.without_prompt(|_| true);
        lm.map_projections(|_, linear| linear.into_base())
    }

    pub(super) fn check_name(&self, name: &str) -> Result<(), PeftError> {
        let adapters = self.adapter_names();
        match adapters.contains(name) {
            true => Ok(()),
            false => Err(PeftError::Unknown {
                name: name.to_string(),
                adapters: adapters.into_iter().collect(),
            }),
        }
    }

    /// Returns the parameters of the adapter, and those that its configuration trains beside it.
    fn trained_with(
        &self,
        name: &str,
        config: &PeftConfig,
        unmatched: &mut Vec<String>,
    ) -> Vec<ParamId> {
        let mut ids = TrainedBeside::of(self, name, config).ids(self, unmatched);
        ids.extend(self.prompt(name).map(list_param_ids).unwrap_or_default());
        let adapters = self
            .projections()
            .filter_map(|(_, linear)| linear.adapter(name));
        ids.extend(adapters.flat_map(Adapter::trained).map(|(id, _)| id));
        ids.extend(ends::ids(self, name));
        ids
    }
}

fn no_match(targets: &Targets, names: &[String]) -> PeftError {
    let last = |name: &String| name.rsplit('.').next().unwrap_or(name).to_string();
    let modules: BTreeSet<String> = names.iter().map(last).collect();
    let restriction = match (&targets.layers_to_transform, &targets.exclude_modules) {
        (Some(layers), _) => format!(" in layers_to_transform {layers:?}"),
        (None, Some(exclude)) => format!(" but exclude_modules {exclude}"),
        (None, None) => String::new(),
    };
    PeftError::NoMatch {
        targets: format!("{}{restriction}", targets.target_modules),
        modules: modules.into_iter().collect::<Vec<_>>().join(", "),
    }
}

/// Number of values of parameters.
struct Values<'a> {
    of: &'a [ParamId],
    number: usize,
}

impl PathVisitor for Values<'_> {
    fn visit_float<const D: usize>(&mut self, _path: &ModulePath, param: &Param<Tensor<D>>) {
        if self.of.contains(&param.id) {
            self.number += param.shape().num_elements();
        }
    }
}
