use core::fmt;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::QuantControls;
use crate::quant::{BitWidth, schedule::LayerOrder};

/// Sensitivity analysis: the rise of the loss from the quantization of each layer of a model.
///
/// A layer is the weight and the input quantizer of one module: `layers.0.q_proj.weight_quant` and
/// `layers.0.q_proj.input_quant` are the layer `layers.0.q_proj`, the prepared weight
/// `layers.0.fc.weight` is the layer `layers.0.fc`.
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::BitLinearConfig, qat::{QuantControls, Sensitivity}, quant::BitWidth};
/// use burn::tensor::{Device, Distribution, Tensor};
///
/// let device = Device::default();
/// let layer = BitLinearConfig::new(16, 8).init(&device);
/// let x = Tensor::<2>::random([32, 16], Distribution::Default, &device);
/// let target = x.clone().matmul(layer.weight.val());
///
/// let report = Sensitivity::new([BitWidth::Bits(4), BitWidth::Bits(8)])
///     .measure(&QuantControls::of(&layer), || {
///         let error = (layer.forward(x.clone()) - target.clone()).square().mean();
///         Ok::<f64, std::convert::Infallible>(error.into_scalar::<f32>().into())
///     })
///     .unwrap();
/// println!("{report}"); // the most sensitive layer first
/// assert!(report.layers[0].alone > report.layers[0].at_bits[&8]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sensitivity {
    widths: Vec<BitWidth>,
}

/// The losses of a model with some of its layers quantized.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SensitivityReport {
    /// The loss with all layers in float.
    pub float: f64,
    /// The loss with all layers quantized as configured.
    pub quantized: f64,
    /// The layers, the most sensitive first.
    pub layers: Vec<LayerSensitivity>,
}

/// The effect of the quantization of one layer on the loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerSensitivity {
    /// Path of the layer.
    pub layer: String,
    /// Number of its weights.
    pub weights: usize,
    /// Rise of the loss over that in float if only this layer is quantized as configured.
    pub alone: f64,
    /// Fall of the loss below that of all quantized if only this layer stays in float.
    pub spared: f64,
    /// Rise of the loss if only this layer is quantized, by the number of bits of its weights.
    pub at_bits: BTreeMap<u8, f64>,
}

/// Error when a sensitivity cannot be measured.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SensitivityError<E> {
    /// The model has no quantizers.
    #[error("the model has no quantizers")]
    NothingQuantized,
    /// The loss could not be computed.
    #[error("the loss could not be computed: {0}")]
    Loss(#[source] E),
    /// A loss is not finite.
    #[error("the loss is {loss} when quantized: {setting}")]
    NotFinite {
        /// Description of the quantized layers.
        setting: String,
        /// The loss.
        loss: f64,
    },
}

impl Default for Sensitivity {
    /// Returns an analysis as configured, with 4 and with 8 bits.
    fn default() -> Self {
        Self::new([BitWidth::Bits(4), BitWidth::Bits(8)])
    }
}

impl Sensitivity {
    /// Creates an analysis of layers as configured, and with weights of some other widths. A ternary width
    /// is left out: it is BitNet's configured one.
    ///
    /// # Panics
    ///
    /// If a number of bits is not in 2..=8.
    #[track_caller]
    pub fn new(widths: impl IntoIterator<Item = BitWidth>) -> Self {
        let widths: Vec<BitWidth> = widths.into_iter().collect();
        // Checks the numbers of bits.
        for width in &widths {
            let _ = width.codes();
        }
        Self { widths }
    }

    /// Computes the loss for each setting of the quantizers of a model. Their settings are restored
    /// afterwards, also on an error of the loss. The controls are those of the model that the loss evaluates.
    ///
    /// The loss is computed `2 + layers * (2 + widths)` times.
    ///
    /// # Errors
    ///
    /// If there are no quantizers, or a loss is an error or not finite.
    pub fn measure<E>(
        &self,
        controls: &QuantControls,
        mut loss: impl FnMut() -> Result<f64, E>,
    ) -> Result<SensitivityReport, SensitivityError<E>> {
        let layers = controls.layers();
        if layers.is_empty() {
            return Err(SensitivityError::NothingQuantized);
        }
        let saved = controls.states();
        let report = self.measure_layers(controls, &layers, &mut loss);
        controls.restore(&saved);
        report
    }

    fn measure_layers<E>(
        &self,
        controls: &QuantControls,
        layers: &[(String, QuantControls)],
        loss: &mut impl FnMut() -> Result<f64, E>,
    ) -> Result<SensitivityReport, SensitivityError<E>> {
        let mut finite = |setting: &str| {
            let loss = loss().map_err(SensitivityError::Loss)?;
            match loss.is_finite() {
                true => Ok(loss),
                false => Err(SensitivityError::NotFinite {
                    setting: setting.to_string(),
                    loss,
                }),
            }
        };
        controls.set_excluded(false);
        controls.set_weight_width(None);
        controls.set_lambda(0.0);
        let float = finite("nothing")?;
        controls.set_lambda(1.0);
        let quantized = finite("all layers")?;

        let mut measured = Vec::new();
        for (layer, own) in layers {
            own.set_lambda(0.0);
            let spared = quantized - finite(&format!("all layers but {layer}"))?;
            controls.set_lambda(0.0);
            own.set_lambda(1.0);
            let alone = finite(&format!("{layer} alone"))? - float;
            let mut at_bits = BTreeMap::new();
            for &width in &self.widths {
                let BitWidth::Bits(bits) = width else {
                    continue;
                };
                own.set_weight_width(Some(width));
                let setting = format!("{layer} alone with {bits} bits");
                at_bits.insert(bits, finite(&setting)? - float);
            }
            own.set_weight_width(None);
            controls.set_lambda(1.0);
            measured.push(LayerSensitivity {
                layer: layer.clone(),
                weights: own.num_weights(),
                alone,
                spared,
                at_bits,
            });
        }
        measured.sort_by(|a, b| b.alone.total_cmp(&a.alone));
        Ok(SensitivityReport {
            float,
            quantized,
            layers: measured,
        })
    }
}

impl SensitivityReport {
    /// Returns the order for a layer-wise schedule that starts with the least sensitive quantizers, by their
    /// paths in the controls.
    pub fn layer_order(&self, controls: &QuantControls) -> LayerOrder {
        let mut scores = BTreeMap::new();
        for (layer, own) in controls.layers() {
            let measured = self.layers.iter().find(|measured| measured.layer == layer);
            if let Some(measured) = measured {
                let paths = own.paths().map(|path| (path.to_string(), measured.alone));
                scores.extend(paths);
            }
        }
        LayerOrder::Sensitivity { scores }
    }

    /// Returns layers and the contribution of each alone to the loss, for a chart.
    pub fn bars(&self) -> Vec<(String, f64)> {
        let layers = self.layers.iter();
        layers
            .map(|layer| (layer.layer.clone(), layer.alone))
            .collect()
    }
}

impl fmt::Display for SensitivityReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "loss in float {:.5}, quantized {:.5}",
            self.float, self.quantized
        )?;
        write!(
            f,
            "{:<40} {:>9} {:>9} {:>9}",
            "layer", "weights", "alone", "spared"
        )?;
        let widths: Vec<u8> = self
            .layers
            .first()
            .map(|layer| layer.at_bits.keys().copied().collect())
            .unwrap_or_default();
        for bits in &widths {
            write!(f, " {:>9}", format!("{bits} bits"))?;
        }
        writeln!(f)?;
        for layer in &self.layers {
            let LayerSensitivity { alone, spared, .. } = layer;
            write!(
                f,
                "{:<40} {:>9} {alone:>9.5} {spared:>9.5}",
                layer.layer, layer.weights
            )?;
            for bits in &widths {
                match layer.at_bits.get(bits) {
                    Some(rise) => write!(f, " {rise:>9.5}")?,
                    None => write!(f, " {:>9}", "-")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
