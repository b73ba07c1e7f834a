//! Quantization of modules: preparation, controls, conversion and errors.

mod calibration;
mod convert;
mod convert_mixed;
mod detached_controls;
mod latent_weights;
mod packed_model;
mod prepare;
mod prepare_errors;
mod prepare_head;
mod quant_controls;
mod quantization_error;
mod record_scheme;
mod sensitivity;
mod tied_parameters;
