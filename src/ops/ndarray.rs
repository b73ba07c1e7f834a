//! NdArray: the chains of Burn operations.

use burn::backend::NdArray;

use super::{QatOps, TransformerOps};

impl QatOps for NdArray {}

impl TransformerOps for NdArray {}
