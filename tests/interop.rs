//! Files exchanged with other programs: transformers, peft, llama.cpp, and the `gguf` and `safetensors` packages
//! of Python.
//!
//! `BITNET_BURN_PYTHON` is a Python with `tests/interop/requirements.txt`:
//! `BITNET_BURN_PYTHON=venv/bin/python cargo test --release --features text --test interop -- --ignored`.

#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "other binaries use the rest"
)]
#[path = "support/values.rs"]
mod values;

mod interop {
    mod chat_template_cases;
    mod chat_templates;
    mod llama_cpp;
    #[cfg(feature = "peft")]
    mod llama_cpp_adapters;
    #[cfg(feature = "peft")]
    mod peft;
    mod python;
    #[cfg(feature = "cli")]
    mod smollm2;
    mod transformers;
}
