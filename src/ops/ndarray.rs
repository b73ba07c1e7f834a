//! NdArray: the chains of Burn operations.

use burn::backend::NdArray;

use super::QatOps;

impl QatOps for NdArray {}
