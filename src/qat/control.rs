mod controls;
mod state;
mod values;

use std::{cell::RefCell, sync::Arc};

use burn::{
    module::{Module, ModuleMapper, Param, ParamId},
    tensor::{Device, Int, Tensor, TensorData},
};

use super::{
    QuantizerSettings,
    tagged::{Represented, Tagged},
};

pub(super) use controls::layer_of;
pub use controls::{QuantControls, detach_controls};
pub(super) use state::ControlState;
pub(super) use values::{ControlValues, Controlled, ControlledWeight};

/// Settings of a quantizer that a schedule or a calibration changes during training.
///
/// All clones and device forks of a module share them: a change takes effect on each at its next forward
/// pass, without a new model. Records of the module hold the values, and loading a record sets them.
/// [`QuantControls`] finds the controls of a model.
#[derive(Module, Debug)]
pub(super) struct QuantControl {
    state: Tagged<Arc<ControlValues>>,
}

thread_local! {
    /// Collects the result of [`ControlValues::of_parameter`]. A save hook is the only way for a visitor to
    /// access the owner of a parameter.
    static COLLECTED: RefCell<Option<Vec<Arc<ControlValues>>>> = const { RefCell::new(None) };
}

impl QuantControl {
    pub fn new(controlled: Controlled, settings: QuantizerSettings, device: &Device) -> Self {
        let quantizer = settings.quantizer.clone();
        let values = Arc::new(ControlValues::new(controlled, settings));
        let placeholder = Tensor::from_data(TensorData::from(values.state().record()), device);
        let parameter = Param::initialized(ParamId::new(), placeholder);
        let parameter = stand_for(parameter, &values);
        Self {
            state: Tagged::new(&quantizer, parameter, values),
        }
    }

    /// Returns the control that a parameter represents, if any.
    #[cfg(feature = "peft")]
    pub fn of_parameter(parameter: &Param<Tensor<1, Int>>) -> Option<Self> {
        let values = ControlValues::of_parameter(parameter)?;
        let quantizer = values.settings.quantizer.clone();
        Some(Self {
            state: Tagged::new(&quantizer, parameter.clone(), values),
        })
    }

    /// Returns the shared values.
    pub fn values(&self) -> &ControlValues {
        self.state.represented()
    }

    /// Returns the current state.
    pub fn state(&self) -> ControlState {
        self.values().state()
    }

    /// Returns the device of the module.
    pub fn device(&self) -> Device {
        self.state.device()
    }
}

impl ControlValues {
    /// Returns the shared values of the control that a parameter represents, if any.
    pub fn of_parameter<const D: usize>(param: &Param<Tensor<D, Int>>) -> Option<Arc<Self>> {
        COLLECTED.set(Some(Vec::new()));
        let _ = param.transform_for_save();
        COLLECTED.take().and_then(|mut collected| collected.pop())
    }
}

impl Represented for Arc<ControlValues> {
    fn of_parameter(parameter: &Param<Tensor<1, Int>>) -> Option<Self> {
        ControlValues::of_parameter(parameter)
    }
}

/// Returns the parameter with records of these values; its own value is a placeholder.
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
                false => {
                    Tensor::from_data(TensorData::from(saved.state().record()), &state.device())
                }
            }
        })
        .load_mapper(move |state: Tensor<D, Int>| {
            let record: Vec<i32> = state.to_data().iter::<i64>().map(|v| v as i32).collect();
            // Burn refuses a record of another shape when it has loaded it.
            if let Ok(record) = record.try_into() {
                loaded.update(|state| *state = ControlState::from_record(record));
            }
            state
        })
}

/// Replaces the controls of a module by copies; controls shared within the module stay shared.
#[derive(Default)]
struct Detach {
    /// The old values and the copies.
    copies: Vec<[Arc<ControlValues>; 2]>,
}

impl ModuleMapper for Detach {
    fn map_int<const D: usize>(&mut self, param: Param<Tensor<D, Int>>) -> Param<Tensor<D, Int>> {
        let Some(values) = ControlValues::of_parameter(&param) else {
            return param;
        };
        let copied = self.copies.iter();
        let mut copied = copied.filter(|[old, _]| Arc::ptr_eq(old, &values));
        let copy = match copied.next() {
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
