//! What training with quantised weights needs beside Burn's optimizers.

mod grad_norm;

pub use grad_norm::clip_grad_norm;
