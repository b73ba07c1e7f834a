//! Tests on tensors, written once for every backend: `BURN_DEVICE` says which one they run on.
//!
//! One binary, because linking Burn takes longer than running the tests.

mod backend {
    mod absmax;
    mod checkpoint;
    mod convert;
    #[cfg(feature = "train")]
    mod distiller;
    mod fake_equals_packed;
    mod loss_distillation;
    mod loss_distillation_states;
    mod oracle;
    mod oracle_adamw;
    mod oracle_bit_linear;
    mod oracle_lm;
    mod oracle_quant;
    mod oracle_training;
    mod packing;
    mod prepare;
    mod prepare_errors;
    mod straight_through;
    #[cfg(feature = "train")]
    mod teacher_logits;
    mod ternary;
    mod values;
}
