//! Tests on tensors, written once for every backend: `BURN_DEVICE` selects the one to run on.
//!
//! One binary, because linking Burn takes longer than running the tests.

#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "other binaries use the rest"
)]
mod support;

mod backend {
    mod functions;
    mod loss;
    mod misuse;
    mod nn;
    mod optim;
    #[cfg(feature = "peft")]
    mod peft;
    mod qat;
    mod quant;
    #[cfg(feature = "train")]
    mod train;
}
