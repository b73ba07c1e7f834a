use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay},
    tensor::{Tensor, assert_shape},
};

use super::{AdapterBase, Lora};
use crate::nn::{Projection, SavedTensors};

/// A projection with adapters beside it: `y = base(x) + s B(A(dropout(x)))` for each active LoRA adapter.
///
/// With a [DoRA](super::LoraConfig::use_dora) adapter, `y = m / n (base(x) - b + s B(A(x))) + b` with its
/// trained norms `m` and the norms `n` of the columns of `W + s A B`, which have no gradient.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct AdaptedLinear<P: AdapterBase> {
    /// The projection beside which the adapters stand.
    pub base: P,
    /// Adapters, in the order in which they were added.
    pub adapters: Vec<Lora>,
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
    /// If its factors do not fit the base, or it has an adapter of this name.
    #[track_caller]
    #[must_use]
    pub fn with_adapter(mut self, name: &str, adapter: Lora) -> Self {
        let [d_input, d_output] = self.base.size();
        assert_shape!(adapter.a.val(), [d_input, _]);
        assert_shape!(adapter.b.val(), [_, d_output]);
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

    /// Removes an adapter and returns it.
    pub(super) fn remove(&mut self, name: &str) -> Option<Lora> {
        let at = self.entries.iter().position(|entry| entry.name == name)?;
        self.entries.remove(at);
        Some(self.adapters.remove(at))
    }

    /// Replaces an adapter.
    #[cfg(feature = "interop")]
    pub(crate) fn map_adapter(&mut self, name: &str, map: impl FnOnce(Lora) -> Lora) {
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
    pub fn adapters(&self) -> impl Iterator<Item = (&str, &Lora)> {
        let names = self.entries.iter().map(|entry| entry.name.as_str());
        names.zip(&self.adapters)
    }

    /// Returns the adapter with a name.
    pub fn adapter(&self, name: &str) -> Option<&Lora> {
        self.adapters().find(|(n, _)| *n == name).map(|(_, a)| a)
    }

    /// Returns the active adapters.
    pub fn active(&self) -> impl Iterator<Item = &Lora> {
        let active = self.entries.iter().zip(&self.adapters);
        active.filter(|(entry, _)| entry.is_active).map(|(_, a)| a)
    }

    /// Returns `W + s A B` in full with all active adapters, of shape `[d_input, d_output]`.
    pub fn dense_weight(&self) -> Tensor<2> {
        self.base.dense_weight() + self.delta()
    }

    /// Returns what the active adapters add to the weight.
    pub(super) fn delta(&self) -> Tensor<2> {
        let weight = self.base.dense_weight();
        let zeros = weight.zeros_like();
        self.active().fold(zeros, |sum, adapter| {
            let delta = adapter.delta().without_autodiff();
            sum + match &adapter.magnitude {
                None => delta,
                Some(magnitude) => {
                    let directed = weight.clone() + delta;
                    let ratio = magnitude.val().without_autodiff().unsqueeze()
                        / column_norms(directed.clone());
                    directed * ratio - weight.clone()
                }
            }
        })
    }

    /// Returns what a DoRA adapter adds to the outputs of the base.
    fn directed<const D: usize>(
        &self,
        adapter: &Lora,
        magnitude: Tensor<1>,
        x: Tensor<D>,
        base: Tensor<D>,
    ) -> Tensor<D> {
        // The base sees the dropped input here, as in peft.
        let drops = adapter.dropout.prob > 0.0 && x.is_autodiff();
        let x = adapter.dropout.forward(x);
        let base = match drops {
            true => self.base.forward(x.clone()),
            false => base,
        };
        let linear = match self.base.bias() {
            Some(bias) => base - bias.val().unsqueeze(),
            None => base,
        };
        let dtype = linear.dtype();
        let directed = self.base.dense_weight() + adapter.delta().without_autodiff();
        let norms: Tensor<1> = column_norms(directed).squeeze_dim(0);
        let ratio = magnitude
            / if x.is_autodiff() {
                norms.autodiff()
            } else {
                norms
            };
        let product = adapter.product(x).cast(dtype);
        let ratio = ratio.cast(dtype).unsqueeze::<D>();
        linear * (ratio.clone() - 1.0) + product * ratio
    }
}

/// Returns the norm of each column, of shape `[1, d_output]`.
pub(super) fn column_norms(weight: Tensor<2>) -> Tensor<2> {
    weight.square().sum_dim(0).sqrt()
}

impl<P: AdapterBase> Projection for AdaptedLinear<P> {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let base = self.base.forward(x.clone());
        let mut y = base.clone();
        for adapter in self.active() {
            y = y + match &adapter.magnitude {
                None => {
                    let x = adapter.dropout.forward(x.clone());
                    adapter.product(x).cast(base.dtype())
                }
                Some(magnitude) => self.directed(adapter, magnitude.val(), x.clone(), base.clone()),
            };
        }
        y
    }

    fn saved(&self) -> SavedTensors {
        // The input of `A`; that of `B` has `rank` values.
        let base = self.base.saved();
        SavedTensors {
            input: true,
            ..base
        }
    }
}

impl<P: AdapterBase> ModuleDisplay for AdaptedLinear<P> {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new().optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let content = content.add("base", &self.base);
        let adapters = self.adapters();
        let content = adapters.fold(content, |content, (name, lora)| content.add(name, lora));
        content.optional()
    }
}
