use std::collections::HashSet;

use super::{GgmlType, GgufError, GgufShape, block::check_shape};

/// What the bytes of every tensor begin at a multiple of, if the metadata do not tell otherwise.
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;

/// What a file says about a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorInfo {
    pub name: String,
    pub shape: GgufShape,
    pub ggml_type: GgmlType,
    /// Where its bytes begin, from the start of the bytes of all tensors.
    pub offset: u64,
    pub num_bytes: u64,
}

impl TensorInfo {
    pub fn new(
        name: String,
        shape: GgufShape,
        ggml_type: GgmlType,
        offset: u64,
    ) -> Result<Self, GgufError> {
        let num_bytes = check_shape(&name, ggml_type, shape)?;
        Ok(Self {
            name,
            shape,
            ggml_type,
            offset,
            num_bytes,
        })
    }

    /// Where its bytes end. It does not overflow once the offset is known to be in a file.
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.num_bytes)
    }
}

/// Checks that the tensors have names of their own and bytes of their own, of the `available` ones.
pub(super) fn check_tensors(
    tensors: &[TensorInfo],
    alignment: u64,
    available: u64,
) -> Result<(), GgufError> {
    let mut names = HashSet::with_capacity(tensors.len());
    for info in tensors {
        if !names.insert(&info.name) {
            return Err(GgufError::DuplicateTensor {
                tensor: info.name.clone(),
            });
        }
        check_place(info, alignment, available)?;
    }
    let mut sorted: Vec<&TensorInfo> = tensors.iter().collect();
    sorted.sort_by_key(|info| info.offset);
    let mut pairs = sorted.windows(2);
    match pairs.find(|pair| pair[1].offset < pair[0].end()) {
        None => Ok(()),
        Some(pair) => Err(GgufError::Overlap {
            first: pair[0].name.clone(),
            second: pair[1].name.clone(),
        }),
    }
}

fn check_place(info: &TensorInfo, alignment: u64, available: u64) -> Result<(), GgufError> {
    let tensor = || info.name.clone();
    if !info.offset.is_multiple_of(alignment) {
        return Err(GgufError::Misaligned {
            tensor: tensor(),
            offset: info.offset,
            alignment,
        });
    }
    if info.end() > available {
        return Err(GgufError::Outside {
            tensor: tensor(),
            offset: info.offset,
            num_bytes: info.num_bytes,
            available,
        });
    }
    Ok(())
}
