//! Damaged adapter folders: an error that names the file and the field or tensor, never a panic, and no room for what
//! only the configuration says.

mod bytes;
mod config;
mod tensors;

use std::{collections::BTreeSet, fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{self, LoadOptions},
        peft::{AdapterFolder, load},
    },
    nn::BitNetLm,
    peft::{AdaptedLinear, PeftConfig},
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::Linear,
    tensor::{Device, Tensor},
};

use crate::support::{damage::raw_tensors, oracle::data_path};

const CONFIG: &str = "adapter_config.json";
const TENSORS: &str = "adapter_model.safetensors";

/// Adapter folders of peft, and their models: LoRA, rsLoRA, DoRA, AdaLoRA, (IA)³, prefix tuning, P-tuning, prompt
/// tuning; embedding and head; biases and whole modules.
const FOLDERS: [(&str, &str); 10] = [
    ("g_adapter_lora", "g_tiny_llama"),
    ("g_adapter_rslora", "g_tiny_llama"),
    ("g_adapter_dora", "g_tiny_llama"),
    ("adalora_llama", "g_tiny_llama"),
    ("g_adapter_ia3", "g_tiny_llama"),
    ("prompt_prefix", "g_tiny_llama"),
    ("prompt_p_tuning", "g_tiny_llama"),
    ("prompt_prompt_tuning", "g_tiny_llama"),
    ("l_adapter_ends", "l_llama"),
    ("l_adapter_bias_all", "l_llama"),
];

/// A folder that is damaged, and what it is without damage.
struct Whole {
    name: &'static str,
    config: Vec<u8>,
    tensors: Vec<u8>,
    model: BitNetLm<Linear>,
    read: PeftConfig,
    values: Vec<u8>,
    names: BTreeSet<String>,
}

/// An adapter that was read, and the values of the model with it.
struct Loaded {
    adapter: AdapterFolder,
    values: Vec<u8>,
}

impl Whole {
    fn open((name, model): (&'static str, &str)) -> Self {
        let file = |file: &str| fs::read(data_path(name).join(file)).unwrap();
        let options = LoadOptions::new();
        let model = hf::load(data_path(model), &options, &Device::default()).unwrap();
        let CausalLm::Full(model) = model.lm else {
            panic!("{name}: {}", model.lm.form());
        };
        let tensors = file(TENSORS);
        let names = raw_tensors(&tensors).into_iter().map(|tensor| tensor.name);
        let mut whole = Self {
            name,
            config: file(CONFIG),
            names: names.collect(),
            tensors,
            read: load(data_path(name)).unwrap().config,
            values: Vec::new(),
            model,
        };
        let loaded = whole.load(Some(&whole.config), Some(&whole.tensors));
        whole.values = loaded
            .unwrap_or_else(|error| panic!("{name}: {error}"))
            .values;
        whole
    }

    /// Loads a folder of these files and attaches its adapter. An error names one of them.
    fn load(&self, config: Option<&[u8]>, tensors: Option<&[u8]>) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [(CONFIG, config), (TENSORS, tensors)] {
            if let Some(bytes) = bytes {
                fs::write(folder.path().join(name), bytes).unwrap();
            }
        }
        let loaded = self.load_from(folder.path());
        if let Err(error) = &loaded {
            let of = [CONFIG, TENSORS].map(|name| folder.path().join(name));
            let is_named = of
                .iter()
                .any(|path| error.starts_with(path.to_str().unwrap()));
            assert!(is_named, "{}: {error}", self.name);
        }
        loaded
    }

    fn load_from(&self, folder: &Path) -> Result<Loaded, String> {
        let adapter = load(folder).map_err(|error| error.to_string())?;
        // What is read is the same.
        if !self.values.is_empty() && adapter.config == self.read {
            let tensors = fs::read(folder.join(TENSORS)).unwrap();
            if tensors == self.tensors {
                let values = self.values.clone();
                return Ok(Loaded { adapter, values });
            }
        }
        let lm = adapter.attach(self.model.clone(), "default");
        let values = values(&lm.map_err(|error| error.to_string())?);
        Ok(Loaded { adapter, values })
    }

    /// Returns whether a message names a tensor of the folder.
    fn names_tensor(&self, message: &str) -> bool {
        let parts = ["lora_", "ia3_l", "prompt_embeddings", "base_layer"];
        self.names
            .iter()
            .any(|name| message.contains(name.as_str()))
            || parts.iter().any(|part| message.contains(part))
    }

    /// Returns how many values of the model are others.
    fn num_changed(&self, loaded: &Loaded) -> usize {
        assert_eq!(loaded.values.len(), self.values.len(), "{}", self.name);
        let [old, new] = [&self.values, &loaded.values].map(|values| values.chunks(4));
        old.zip(new).filter(|(old, new)| old != new).count()
    }
}

/// Returns the bytes of all parameters.
fn values(lm: &BitNetLm<AdaptedLinear<Linear>>) -> Vec<u8> {
    struct Values(Vec<u8>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().into_data().as_bytes());
        }
    }
    let mut values = Values(Vec::new());
    lm.visit(&mut values);
    values.0
}
