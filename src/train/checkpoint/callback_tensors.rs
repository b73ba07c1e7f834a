use std::{collections::BTreeMap, path::PathBuf};

use burn::{
    store::RecordError,
    tensor::{Bytes, TensorData},
    train::checkpoint::{Checkpoint, CheckpointerError},
};
use burn_pack::{Reader, Tensor, Writer};

use crate::train::callback::StateTensors;

/// Tensors of callbacks in a checkpoint, by the name of the callback.
///
/// In the file, the tensors of the callback `n` have names that begin with `n.`, and the metadata `n` is its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::train) struct CallbackTensors(pub BTreeMap<String, StateTensors>);

impl CallbackTensors {
    /// Returns whether no callback has tensors.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn writer(self) -> Writer {
        let mut tensors = Vec::new();
        let mut names = Vec::new();
        for (number, (callback, state)) in self.0.into_iter().enumerate() {
            for (name, data) in state {
                let (bytes, shape, dtype) = data.into_parts();
                let name = format!("{number}.{name}");
                tensors.push(Tensor::new(name, dtype, shape, None, bytes));
            }
            names.push((number.to_string(), callback));
        }
        let writer = Writer::new(tensors);
        let named =
            |writer: Writer, (key, name): (String, String)| writer.with_metadata(&key, &name);
        names.into_iter().fold(writer, named)
    }

    fn read(reader: Reader) -> Result<Self, RecordError> {
        let names = reader.metadata().clone();
        let mut states = BTreeMap::new();
        for tensor in reader.into_tensors()? {
            let (full, dtype, shape, _, bytes) = tensor.into_parts()?;
            let parts = full.split_once('.');
            let found = parts.and_then(|(number, name)| Some((names.get(number)?, name)));
            let Some((callback, name)) = found else {
                let message = format!("the tensor {full} is of no callback");
                return Err(RecordError::Validation(message));
            };
            let data = TensorData::from_bytes(bytes, shape, dtype);
            let state: &mut StateTensors = states.entry(callback.clone()).or_default();
            state.insert(name.to_string(), data);
        }
        Ok(Self(states))
    }
}

impl Checkpoint for CallbackTensors {
    fn save(self, path: PathBuf) -> Result<(), CheckpointerError> {
        let written = self.writer().write_to_file(path);
        written.map_err(|error| CheckpointerError::Record(error.into()))
    }

    fn load(path: PathBuf) -> Result<Self, CheckpointerError> {
        let reader = Reader::from_file(path).map_err(RecordError::from);
        let read = reader.and_then(Self::read);
        read.map_err(CheckpointerError::Record)
    }

    fn checkpoint_from_bytes(bytes: Bytes) -> Result<Self, RecordError> {
        Self::read(Reader::from_bytes(bytes)?)
    }

    fn checkpoint_into_bytes(self) -> Result<Bytes, RecordError> {
        Ok(self.writer().into_bytes()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_come_back_by_the_names_of_their_callbacks() {
        let state = |values: [f32; 2]| -> StateTensors {
            let data = TensorData::new(values.to_vec(), [2, 1]);
            [("lm.layers.0.a".to_string(), data)].into()
        };
        let names = ["a callback.of/any name", "other"];
        let tensors = names.map(|name| (name.to_string(), state([1.0, f32::MIN_POSITIVE])));
        let tensors = CallbackTensors(tensors.into());
        let bytes = tensors.clone().checkpoint_into_bytes().unwrap();
        let read = CallbackTensors::checkpoint_from_bytes(bytes).unwrap();
        assert_eq!(read, tensors);
    }

    #[test]
    fn a_tensor_of_no_callback_is_an_error() {
        let data = TensorData::new(vec![1.0f32], [1]);
        let (bytes, shape, dtype) = data.into_parts();
        let tensor = Tensor::new("7.a".to_string(), dtype, shape, None, bytes);
        let bytes = Writer::new(vec![tensor]).into_bytes().unwrap();
        let error = CallbackTensors::checkpoint_from_bytes(bytes).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("the tensor 7.a is of no callback"),
            "{error}"
        );
    }
}
