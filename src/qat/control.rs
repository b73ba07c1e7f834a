use core::fmt;
use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use burn::{
    module::{
        Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
        Param, ParamId,
    },
    tensor::{Device, Int, Tensor, TensorData},
};

use super::{QuantizerSettings, error_probe::ErrorProbe, observation::Observation, tagged::Tagged};
use crate::quant::{
    BitWidth, StaticConfig, StaticRange, SymmetricConfig, TernaryConfig, WeightGranularity,
    WeightQuantizer,
};

/// Settings of a quantizer that a schedule or a calibration changes during training.
///
/// All clones and device forks of a module share them: a change takes effect on each at its next forward
/// pass, without a new model. Records of the module hold the values, and loading a record sets them.
/// [`QuantControls`](super::QuantControls) finds the controls of a model.
#[derive(Module, Debug)]
pub(super) struct QuantControl {
    state: Tagged<ControlState>,
}

/// The shared values, and the parameter that represents them in the module tree.
#[derive(Debug, Clone)]
struct ControlState {
    /// Writes the values into records and reads them; its own value is a placeholder.
    parameter: Param<Tensor<1, Int>>,
    values: Arc<ControlValues>,
}

/// The shared values. Each is an atomic that every forward pass reads.
#[derive(Debug)]
pub(super) struct ControlValues {
    pub kind: ControlKind,
    /// The weight and its quantizer.
    pub weight: Option<ControlledWeight>,
    /// Configuration of a static quantizer of activations, for its range.
    pub static_config: Option<StaticConfig>,
    pub observation: Observation,
    pub error_probe: ErrorProbe,
    /// Settings of the quantizer; a record is only loaded into a quantizer with the same settings.
    pub settings: QuantizerSettings,
    lambda: AtomicU32,
    /// The code of a width, and the flags above.
    width: AtomicU32,
    noise_key: AtomicU64,
    /// Bits of step and zero point; 0 for none, as a step is positive.
    range: AtomicU64,
}

/// Lambda, width and flags of a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Setting {
    lambda: u32,
    width: u32,
}

/// A weight and its quantizer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ControlledWeight {
    pub shape: Vec<usize>,
    pub quantizer: WeightQuantizer,
    /// Dimension of its output channels.
    pub output_axis: usize,
}

impl fmt::Display for ControlledWeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            quantizer,
            output_axis,
            ..
        } = self;
        write!(f, "{quantizer}, outputs in dimension {output_axis}")
    }
}

/// The value quantized under a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlKind {
    Weight,
    Activation,
}

/// Number of integers in a record.
const RECORD_LENGTH: usize = 6;

/// Flag in the width: each output channel of a weight has its own scale.
const PER_CHANNEL: u32 = 1 << 8;

/// Flag in the width: nothing is quantized.
const EXCLUDED: u32 = 1 << 9;
/// Both flags.
const FLAGS: u32 = PER_CHANNEL | EXCLUDED;

/// Returns the width as a number: 0 as configured, 1 ternary, else bits.
fn width_code(width: Option<BitWidth>) -> u32 {
    match width {
        None => 0,
        Some(BitWidth::Ternary) => 1,
        Some(BitWidth::Bits(bits)) => bits as u32,
    }
}

impl ControlValues {
    fn new(
        kind: ControlKind,
        settings: QuantizerSettings,
        static_config: Option<StaticConfig>,
        weight: Option<ControlledWeight>,
    ) -> Self {
        Self {
            kind,
            weight,
            static_config,
            settings,
            observation: Observation::default(),
            error_probe: ErrorProbe::default(),
            lambda: AtomicU32::new(1f32.to_bits()),
            width: AtomicU32::new(0),
            noise_key: AtomicU64::new(0),
            range: AtomicU64::new(0),
        }
    }

    /// Returns an independent copy of the settings and range, without observers.
    pub fn detached(&self) -> Self {
        let (settings, config) = (self.settings.clone(), self.static_config.clone());
        let copy = Self::new(self.kind, settings, config, self.weight.clone());
        copy.restore(&self.record());
        copy
    }

    /// Returns the number of weights that are quantized; 0 for activations.
    pub fn num_weights(&self) -> usize {
        let weight = self.weight.as_ref();
        weight.map_or(0, |weight| weight.shape.iter().product())
    }

    /// Returns the quantizer of a weight in use: the configured one, unless a schedule set another width or a
    /// scale for each channel.
    pub fn active_quantizer(&self) -> Option<WeightQuantizer> {
        let own = &self.weight.as_ref()?.quantizer;
        let granularity = match self.per_channel() {
            true => WeightGranularity::PerChannel,
            false => own.granularity(),
        };
        Some(match self.width() {
            None => own.clone().with_granularity(granularity),
            Some(BitWidth::Ternary) => TernaryConfig::new(granularity).into(),
            Some(BitWidth::Bits(bits)) => SymmetricConfig::new(bits)
                .with_granularity(granularity)
                .into(),
        })
    }

    /// Returns the share of the quantized value in the blend with the latent one, 0 to 1.
    pub fn lambda(&self) -> f32 {
        f32::from_bits(self.lambda.load(Ordering::Relaxed))
    }

    pub fn set_lambda(&self, lambda: f32) {
        self.lambda.store(lambda.to_bits(), Ordering::Relaxed);
    }

    /// Returns the width that replaces the configured one.
    pub fn width(&self) -> Option<BitWidth> {
        match self.width.load(Ordering::Relaxed) & !FLAGS {
            1 => Some(BitWidth::Ternary),
            bits @ 2..=8 => Some(BitWidth::Bits(bits as u8)),
            _ => None,
        }
    }

    pub fn set_width(&self, width: Option<BitWidth>) {
        let code = width_code(width);
        self.update_width(|width| width & FLAGS | code);
    }

    /// Returns whether each output channel of a weight has its own scale, regardless of the configuration.
    pub fn per_channel(&self) -> bool {
        self.flag(PER_CHANNEL)
    }

    pub fn set_per_channel(&self, per_channel: bool) {
        self.set_flag(PER_CHANNEL, per_channel);
    }

    /// Returns whether values stay in float for any lambda.
    pub fn excluded(&self) -> bool {
        self.flag(EXCLUDED)
    }

    pub fn set_excluded(&self, excluded: bool) {
        self.set_flag(EXCLUDED, excluded);
    }

    fn flag(&self, flag: u32) -> bool {
        self.width.load(Ordering::Relaxed) & flag != 0
    }

    fn set_flag(&self, flag: u32, value: bool) {
        self.update_width(|width| match value {
            true => width | flag,
            false => width & !flag,
        });
    }

    fn update_width(&self, f: impl Fn(u32) -> u32) {
        // The update always returns a value.
        let _ = self
            .width
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |width| Some(f(width)));
    }

    /// Returns the seed of the random numbers of this layer and step.
    pub fn noise_key(&self) -> u64 {
        self.noise_key.load(Ordering::Relaxed)
    }

    pub fn set_noise_key(&self, key: u64) {
        self.noise_key.store(key, Ordering::Relaxed);
    }

    /// Returns the step size and zero point from calibration.
    pub fn range(&self) -> Option<StaticRange> {
        match self.range.load(Ordering::Relaxed) {
            0 => None,
            bits => Some(StaticRange {
                step: f32::from_bits((bits >> 32) as u32),
                zero_point: f32::from_bits(bits as u32),
            }),
        }
    }

    pub fn set_range(&self, range: Option<StaticRange>) {
        let bits = range.map_or(0, |StaticRange { step, zero_point }| {
            (step.to_bits() as u64) << 32 | zero_point.to_bits() as u64
        });
        self.range.store(bits, Ordering::Relaxed);
    }

    /// Returns lambda, width and flags, to restore them later.
    pub fn setting(&self) -> Setting {
        Setting {
            lambda: self.lambda.load(Ordering::Relaxed),
            width: self.width.load(Ordering::Relaxed),
        }
    }

    pub fn set(&self, setting: Setting) {
        self.lambda.store(setting.lambda, Ordering::Relaxed);
        self.width.store(setting.width, Ordering::Relaxed);
    }

    /// Returns the values as integers; floats by their bits, so that a record holds them exactly.
    fn record(&self) -> [i32; RECORD_LENGTH] {
        let (key, range) = (self.noise_key(), self.range.load(Ordering::Relaxed));
        [
            self.lambda.load(Ordering::Relaxed) as i32,
            self.width.load(Ordering::Relaxed) as i32,
            key as i32,
            (key >> 32) as i32,
            range as i32,
            (range >> 32) as i32,
        ]
    }

    /// Restores the values of a record.
    fn restore(&self, record: &[i32; RECORD_LENGTH]) {
        let [lambda, width, key_low, key_high, range_low, range_high] = record;
        let long = |low: &i32, high: &i32| (*high as u32 as u64) << 32 | *low as u32 as u64;
        self.lambda.store(*lambda as u32, Ordering::Relaxed);
        self.width.store(*width as u32, Ordering::Relaxed);
        self.noise_key
            .store(long(key_low, key_high), Ordering::Relaxed);
        self.range
            .store(long(range_low, range_high), Ordering::Relaxed);
    }
}

thread_local! {
    /// Collects the result of [`QuantControl::of_parameter`]. A save hook is the only way for a visitor to
    /// access the owner of a parameter.
    static COLLECTED: RefCell<Option<Vec<Arc<ControlValues>>>> = const { RefCell::new(None) };
}

impl QuantControl {
    /// Creates the control of the quantizer of a weight.
    pub fn of_weight(
        weight: ControlledWeight,
        settings: QuantizerSettings,
        device: &Device,
    ) -> Self {
        let values = ControlValues::new(ControlKind::Weight, settings, None, Some(weight));
        Self::new(values, device)
    }

    /// Creates the control of activations, with the configuration of a static quantizer.
    pub fn of_activation(
        static_config: Option<StaticConfig>,
        settings: QuantizerSettings,
        device: &Device,
    ) -> Self {
        let values = ControlValues::new(ControlKind::Activation, settings, static_config, None);
        Self::new(values, device)
    }

    fn new(values: ControlValues, device: &Device) -> Self {
        let values = Arc::new(values);
        let placeholder = Tensor::from_data(TensorData::from(values.record()), device);
        let parameter = Param::initialized(ParamId::new(), placeholder);
        let parameter = stand_for(parameter, &values);
        let quantizer = values.settings.quantizer.clone();
        let state = Tagged::new(&quantizer, ControlState { parameter, values });
        Self { state }
    }

    /// Returns the shared values.
    pub fn values(&self) -> &ControlValues {
        &self.state.inner().values
    }

    /// Returns the device of the module.
    pub fn device(&self) -> Device {
        self.state.inner().parameter.val().device()
    }

    /// Returns the shared values of the control that a parameter represents, if any.
    pub fn of_parameter<const D: usize>(
        param: &Param<Tensor<D, Int>>,
    ) -> Option<Arc<ControlValues>> {
        COLLECTED.set(Some(Vec::new()));
        let _ = param.transform_for_save();
        COLLECTED.take().and_then(|mut collected| collected.pop())
    }
}

/// Returns the parameter with records of these values.
fn stand_for<const D: usize>(
    parameter: Param<Tensor<D, Int>>,
    values: &Arc<ControlValues>,
) -> Param<Tensor<D, Int>> {
    let (saved, loaded) = (values.clone(), values.clone());
    parameter
        .save_mapper(move |state: Tensor<D, Int>| {
            let collects = COLLECTED.with_borrow_mut(|collected| match collected {
                Some(collected) => {
                    collected.push(saved.clone());
                    true
                }
                None => false,
            });
            match collects {
                true => state,
                false => Tensor::from_data(TensorData::from(saved.record()), &state.device()),
            }
        })
        .load_mapper(move |state: Tensor<D, Int>| {
            let record: Vec<i32> = state.to_data().iter::<i64>().map(|v| v as i32).collect();
            // Burn refuses a record of another shape when it has loaded it.
            if let Ok(record) = record.try_into() {
                loaded.restore(&record);
            }
            state
        })
}

/// Replaces the controls of a module by copies; controls shared within the module stay shared.
#[derive(Default)]
pub(super) struct Detach {
    /// The old values and the copies.
    copies: Vec<[Arc<ControlValues>; 2]>,
}

impl ModuleMapper for Detach {
    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let Some(values) = QuantControl::of_parameter(&param) else {
            return param;
        };
        let copy = self
            .copies
            .iter()
            .find(|[old, _]| Arc::ptr_eq(old, &values));
        let copy = match copy {
            Some([_, copy]) => copy.clone(),
            None => {
                let copy = Arc::new(values.detached());
                self.copies.push([values, copy.clone()]);
                copy
            }
        };
        stand_for(param, &copy)
    }
}

impl ControlState {
    /// Replaces the parameter and the values that it represents.
    fn with(self, parameter: Param<Tensor<1, Int>>) -> Self {
        let values = QuantControl::of_parameter(&parameter).unwrap_or(self.values);
        Self { parameter, values }
    }
}

impl Module for ControlState {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.parameter.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        let parameter = self.parameter.clone().fork(device);
        self.with(parameter)
    }

    fn to_device(self, device: &Device) -> Self {
        let parameter = self.parameter.clone().to_device(device);
        self.with(parameter)
    }

    fn train(self) -> Self {
        let parameter = self.parameter.clone().train();
        self.with(parameter)
    }

    fn valid(&self) -> Self {
        self.clone().with(self.parameter.valid())
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        self.parameter.visit(visitor);
    }

    fn map<V: ModuleMapper>(self, mapper: &mut V) -> Self {
        let parameter = Module::map(self.parameter.clone(), mapper);
        self.with(parameter)
    }
}

impl ModuleDisplayDefault for ControlState {
    fn content(&self, content: Content) -> Option<Content> {
        self.parameter.content(content)
    }
}

impl ModuleDisplay for ControlState {}
