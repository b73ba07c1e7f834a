//! Chains of Burn operations for the NdArray backend.

use burn::backend::NdArray;

use super::{QatOps, TransformerOps};

impl QatOps for NdArray {}

impl TransformerOps for NdArray {}
