use std::borrow::Cow;

use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay},
    tensor::{DType, Tensor},
};

use super::{
    Adapter, AdapterBase,
    adapter_method::{AdapterMethod, BasePass, Merged},
};
use crate::nn::{Projection, SavedTensors};

/// A projection with adapters beside it: `y = base(x) + s B(A(dropout(x)))` for a [LoRA](super::Lora) adapter; see
/// [`Adapter`] for the methods.
///
/// Active adapters are composed in the order in which they were added: each changes the input or the output of the
/// projection that those before it make. Between sums (LoRA, BitFit) and between factors ((IA)³) the order does not
/// count, but `f2 = l f1` of `f1(x) = base(x) + d` is another projection than `f2(x) = f1(x) + d` of `f1 = l base`.
/// DoRA always takes the direction of its weight from the base alone.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct AdaptedLinear<P: AdapterBase> {
    /// The projection beside which the adapters stand.
    pub base: P,
    /// Adapters, in the order in which they were added.
    pub adapters: Vec<Adapter>,
    #[module(skip)]
    entries: Vec<Entry>,
}

/// Name of an adapter, and whether it takes part.
#[derive(Debug, Clone)]
struct Entry {
    name: String,
    is_active: bool,
}

impl<P: AdapterBase> AdaptedLinear<P> {
    /// Creates a projection without adapters.
    pub fn new(base: P) -> Self {
        Self {
            base,
            adapters: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Adds an active adapter.
    ///
    /// # Panics
    ///
    /// If it does not fit the base, or it has an adapter of this name.
    #[track_caller]
    #[must_use]
    pub fn with_adapter(mut self, name: &str, adapter: impl Into<Adapter>) -> Self {
        let adapter = adapter.into();
        adapter.check(self.base.size());
        assert!(
            self.adapter(name).is_none(),
            "two adapters are called {name:?}"
        );
        self.adapters.push(adapter);
        self.entries.push(Entry {
            name: name.to_string(),
            is_active: true,
        });
        self
    }

    /// Removes an adapter: the base is again as it was without it.
    pub(super) fn without(mut self, name: &str) -> Self {
        let Some(at) = self.entries.iter().position(|entry| entry.name == name) else {
            return self;
        };
        self.entries.remove(at);
        let removed = self.adapters.remove(at);
        self.base = restored(self.base, &removed);
        self
    }

    /// Removes all adapters.
    pub(super) fn into_base(self) -> P {
        self.adapters.iter().fold(self.base, restored)
    }

    /// Replaces an adapter.
    pub(crate) fn map_adapter(&mut self, name: &str, map: impl FnOnce(Adapter) -> Adapter) {
        let at = self.entries.iter().position(|entry| entry.name == name);
        if let Some(at) = at {
            let adapter = self.adapters.remove(at);
            self.adapters.insert(at, map(adapter));
        }
    }

    /// Makes exactly the named adapters active.
    pub(super) fn set_active(&mut self, names: &[&str]) {
        for entry in &mut self.entries {
            entry.is_active = names.contains(&entry.name.as_str());
        }
    }

    /// Returns the adapters by name.
    pub fn adapters(&self) -> impl Iterator<Item = (&str, &Adapter)> {
        let names = self.entries.iter().map(|entry| entry.name.as_str());
        names.zip(&self.adapters)
    }

    /// Returns the adapter with a name.
    pub fn adapter(&self, name: &str) -> Option<&Adapter> {
        self.adapters().find(|(n, _)| *n == name).map(|(_, a)| a)
    }

    /// Returns the active adapters.
    pub fn active(&self) -> impl Iterator<Item = &Adapter> {
        let active = self.entries.iter().zip(&self.adapters);
        active.filter(|(entry, _)| entry.is_active).map(|(_, a)| a)
    }

    /// Returns the adapters that take part: what stands for those that rest, as a part of the base, and the active ones.
    fn taking_part(&self) -> impl Iterator<Item = Cow<'_, Adapter>> {
        let entries = self.entries.iter().zip(&self.adapters);
        let resting = entries.filter(|(entry, _)| !entry.is_active);
        let resting = resting.filter_map(|(_, adapter)| adapter.at_rest());
        resting
            .map(Cow::Owned)
            .chain(self.active().map(Cow::Borrowed))
    }

    /// Returns the weight `[d_input, d_output]` with all active adapters in it, in `f32` and without autodiff:
    /// `W + s A B`.
    pub fn dense_weight(&self) -> Tensor<2> {
        self.merged().weight
    }

    /// Returns weight and bias with all active adapters in them.
    pub(super) fn merged(&self) -> Merged {
        let weight = self.base.dense_weight();
        let bias = self.base.bias();
        let merged = Merged {
            bias: bias.map(|bias| bias.val().without_autodiff().cast(DType::F32)),
            weight: weight.clone(),
            of_base: weight.clone(),
        };
        self.taking_part()
            .fold(merged, |merged, adapter| adapter.merged(&weight, merged))
    }
}

/// Returns the base as it was before an adapter was subtracted from it.
fn restored<P: AdapterBase>(base: P, adapter: &Adapter) -> P {
    let Some(initial) = adapter.at_rest() else {
        return base;
    };
    let weight = base.dense_weight();
    let merged = Merged {
        weight: weight.clone(),
        bias: None,
        of_base: weight.clone(),
    };
    let merged = initial.merged(&weight, merged);
    base.with_weight(merged.weight, None)
}

/// Returns the output of a base, if it is used, and that with adapters.
fn outputs<P: AdapterBase, const D: usize>(
    base: &P,
    adapters: &[&Adapter],
    x: Tensor<D>,
    is_used: bool,
) -> (Option<Tensor<D>>, Tensor<D>) {
    let Some((last, before)) = adapters.split_last() else {
        // A second tensor of the same memory would keep adapters from adding to it in place.
        let output = base.forward(x);
        return (is_used.then(|| output.clone()), output);
    };
    let is_used = is_used || last.uses_base_output();
    let (output, y) = outputs(base, before, last.input(x.clone()), is_used);
    let base_input = |x| before.iter().rev().fold(x, |x, adapter| adapter.input(x));
    let pass = BasePass {
        base,
        base_input: &base_input,
        x,
        output,
    };
    let y = last.output(&pass, y);
    (pass.output, y)
}

impl<P: AdapterBase> Projection for AdaptedLinear<P> {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let adapters: Vec<_> = self.taking_part().collect();
        let adapters: Vec<&Adapter> = adapters.iter().map(AsRef::as_ref).collect();
        outputs(&self.base, &adapters, x, false).1
    }

    fn saved(&self) -> SavedTensors {
        let base = self.base.saved();
        SavedTensors {
            input: self
                .active()
                .map(AdapterMethod::saved_input)
                .fold(base.input, Ord::max),
            ..base
        }
    }

    fn draws_random_numbers(&self) -> bool {
        self.base.draws_random_numbers() || self.active().any(AdapterMethod::draws_random_numbers)
    }
}

impl<P: AdapterBase> ModuleDisplay for AdaptedLinear<P> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let content = content.add("base", &self.base);
        let adapters = self.adapters();
        let content = adapters.fold(content, |content, (name, a)| content.add(name, a));
        content.optional()
    }
}
