//! Chains of Burn operations for the NdArray backend.

use burn::backend::NdArray;

use super::{FourBitOps, QatOps, TransformerOps};

impl QatOps for NdArray {}

impl TransformerOps for NdArray {}

impl FourBitOps for NdArray {}
