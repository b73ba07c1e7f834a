//! Chains of Burn operations for the NdArray backend.

use burn::backend::NdArray;

use super::{AdapterOps, CrossEntropyOps, FourBitOps, QatOps, TransformerOps};

impl QatOps for NdArray {}

impl TransformerOps for NdArray {}

impl CrossEntropyOps for NdArray {}

impl FourBitOps for NdArray {}

impl AdapterOps for NdArray {}
