use core::fmt;

/// An adapted module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdaptedModule {
    /// Name, such as `model.layers.0.self_attn.q_proj`.
    pub name: String,
    /// Number of values of its adapter.
    pub num_params: usize,
}

/// Modules that got an adapter, and the parameters that train.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterReport {
    /// The configuration, in words.
    pub method: String,
    /// Modules that got an adapter.
    pub modules: Vec<AdaptedModule>,
    /// Names of the configuration that match nothing.
    pub unmatched: Vec<String>,
    /// Number of values that train.
    pub num_trainable: usize,
    /// Number of values of the model with its adapters; packed weights count as values.
    pub num_params: usize,
}

impl fmt::Display for AdapterReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let modules = self.modules.len();
        writeln!(f, "{}: {modules} modules", self.method)?;
        for name in &self.unmatched {
            writeln!(f, "{name} matches nothing")?;
        }
        let share = 100.0 * self.num_trainable as f64 / self.num_params.max(1) as f64;
        write!(
            f,
            "{} of {} parameters train ({share:.3} %)",
            self.num_trainable, self.num_params
        )
    }
}
