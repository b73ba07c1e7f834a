//! Walsh-Hadamard transform: blocks in shared memory, and further passes over the memory for blocks that
//! do not fit.

use cubecl::{client::Client, prelude::*, server::Handle};

use super::launch::{buffer, elementwise, index, one_cube_each, reduce_units, vector_size};
use crate::{Groups, reference::hadamard_scale};

/// Butterfly stages that a unit computes in registers between two synchronizations.
const PASS_STAGES: usize = 4;

/// Stages of the largest tile: 4096 values, 16 for each of 256 units. Larger tiles leave too few
/// cubes per multiprocessor.
const MAX_TILE_STAGES: usize = 12;

/// Returns the padded size of `values` values in shared memory: one more after every 16. Without the
/// padding, units that take 16 neighbors each would all access the same bank.
#[cube]
fn padded(values: usize) -> usize {
    values + values / 16
}

/// Computes the stages 1, 2, .., `2^(stages - 1)` apart.
#[cube]
fn butterflies(values: &mut Array<f32>, #[comptime] stages: usize) {
    #[unroll]
    for stage in 0..stages {
        let distance = comptime!(1usize << stage);
        #[unroll]
        for pair in 0..comptime!(1usize << (stages - 1)) {
            let i = comptime!(pair / distance * 2 * distance + pair % distance);
            let a = values[i];
            let b = values[comptime!(i + distance)];
            values[i] = a + b;
            values[comptime!(i + distance)] = a - b;
        }
    }
}

/// Returns the first of the `2^stages` values, `stride` apart, of combination `position`.
#[cube]
fn first_of(position: usize, stride: usize, #[comptime] stages: usize) -> usize {
    position / stride * stride * comptime!(1usize << stages) + position % stride
}

/// Computes the stages `stride`, .., `stride * 2^(stages - 1)` apart on the first `length` values.
#[cube]
fn pass_in_cube(
    shared: &mut Shared<[f32]>,
    length: usize,
    #[comptime] stride: usize,
    #[comptime] stages: usize,
) {
    let mut values = Array::<f32>::new(comptime!(1usize << stages));
    let mut position = UNIT_POS as usize;
    while position < length / comptime!(1usize << stages) {
        let first = first_of(position, stride, stages);
        #[unroll]
        for i in 0..comptime!(1usize << stages) {
            values[i] = shared[padded(first + comptime!(i * stride))];
        }
        butterflies(&mut values, stages);
        #[unroll]
        for i in 0..comptime!(1usize << stages) {
            shared[padded(first + comptime!(i * stride))] = values[i];
        }
        position += CUBE_DIM as usize;
    }
}

/// Each cube takes one tile of whole blocks of `2^stages` values.
#[cube(launch_unchecked)]
pub(super) fn transform_tiles<I: Float, O: Float, N: Size>(
    input: &[Vector<I, N>],
    output: &mut [Vector<O, N>],
    tiles: u32,
    values: u32,
    scale: f32,
    #[comptime] stages: usize,
    #[comptime] tile: usize,
    #[define(I)] _input_type: ElemType,
    #[define(O)] _output_type: ElemType,
) {
    if CUBE_POS >= tiles as usize {
        terminate!();
    }
    let start = CUBE_POS * tile;
    let length = min(tile, values as usize - start);
    let start = start / N::value();
    let vectors = length / N::value();
    let mut shared = Shared::<[f32]>::new_slice(comptime!(padded(tile)));

    let mut i = UNIT_POS as usize;
    while i < vectors {
        let value = input[start + i];
        #[unroll]
        for lane in 0..N::value() {
            shared[padded(i * N::value() + lane)] = f32::cast_from(value.extract(lane));
        }
        i += CUBE_DIM as usize;
    }
    sync_cube();
    #[unroll]
    for pass in 0..comptime!(stages.div_ceil(PASS_STAGES)) {
        let done = comptime!(pass * PASS_STAGES);
        pass_in_cube(
            &mut shared,
            length,
            comptime!(1usize << done),
            comptime!(PASS_STAGES.min(stages - done)),
        );
        sync_cube();
    }

    let mut i = UNIT_POS as usize;
    while i < vectors {
        let mut value = Vector::<O, N>::empty();
        #[unroll]
        for lane in 0..N::value() {
            let sum = shared[padded(i * N::value() + lane)];
            value.insert(lane, O::cast_from(sum * scale));
        }
        output[start + i] = value;
        i += CUBE_DIM as usize;
    }
}

/// Each unit combines `2^stages` values, `stride` apart; neighboring units take neighboring values.
#[cube(launch_unchecked)]
pub(super) fn transform_strided<O: Float>(
    input: &[f32],
    output: &mut [O],
    units: u32,
    stride: u32,
    scale: f32,
    #[comptime] stages: usize,
    #[define(O)] _output_type: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= units as usize {
        terminate!();
    }
    let stride = stride as usize;
    let first = first_of(position, stride, stages);
    let mut values = Array::<f32>::new(comptime!(1usize << stages));
    #[unroll]
    for i in 0..comptime!(1usize << stages) {
        values[i] = input[first + i * stride];
    }
    butterflies(&mut values, stages);
    #[unroll]
    for i in 0..comptime!(1usize << stages) {
        output[first + i * stride] = O::cast_from(values[i] * scale);
    }
}

/// Computes the orthonormal Walsh-Hadamard transform of each block of `block` neighboring values, a
/// power of two, in `f32` for any type of the values. Blocks that exceed the shared memory need buffers
/// for intermediate results, `f32` of the same number of values.
///
/// # Shapes
///
/// - input, output: `values` values of type `dtype`, whole blocks
pub fn hadamard_transform(
    client: &Client,
    input: &Handle,
    output: &Handle,
    values: usize,
    block: usize,
    dtype: ElemType,
) {
    if values == 0 {
        return;
    }
    let transform = Transform {
        client,
        values,
        stages: block.ilog2() as usize,
    };
    let scale = hadamard_scale(block);
    let mut done = transform.stages.min(tile_stages(client));
    if done == transform.stages {
        transform.tiles(input, output, done, scale, [dtype; 2]);
        return;
    }
    let f32_type = f32::elem_type_native();
    let mut sums = client.empty(values * size_of::<f32>());
    transform.tiles(input, &sums, done, 1.0, [dtype, f32_type]);
    while transform.stages - done > PASS_STAGES {
        let next = client.empty(values * size_of::<f32>());
        transform.strided(&sums, &next, done, PASS_STAGES, 1.0, f32_type);
        sums = next;
        done += PASS_STAGES;
    }
    transform.strided(&sums, output, done, transform.stages - done, scale, dtype);
}

/// Returns the number of stages of the largest tile that fits the device's shared memory.
fn tile_stages(client: &Client) -> usize {
    let memory = client.properties().hardware.max_shared_memory_size;
    let fits = |stages: &usize| padded(1 << stages) * size_of::<f32>() <= memory;
    (0..=MAX_TILE_STAGES).rev().find(fits).unwrap_or(0)
}

/// Launches for `values` values in blocks of `2^stages`.
struct Transform<'a> {
    client: &'a Client,
    values: usize,
    stages: usize,
}

impl Transform<'_> {
    /// Computes the first `stages` stages, and multiplies by `scale`.
    fn tiles(
        &self,
        input: &Handle,
        output: &Handle,
        stages: usize,
        scale: f32,
        [input_type, output_type]: [ElemType; 2],
    ) {
        let tile = 1 << tile_stages(self.client);
        let tiles = self.values.div_ceil(tile);
        let groups = Groups {
            outer: self.values >> stages,
            size: 1 << stages,
            inner: 1,
        };
        let width = [input_type, output_type]
            .map(|dtype| vector_size(self.client, groups, dtype))
            .into_iter()
            .min()
            .unwrap_or(1);
        let units = reduce_units(self.client);
        let (cube_count, cube_dim) = one_cube_each(self.client, tiles, units);
        // SAFETY: cubes beyond `tiles` stop, the others stay inside their tile and `values`.
        unsafe {
            transform_tiles::launch_unchecked(
                self.client,
                cube_count,
                cube_dim,
                width,
                buffer(input, self.values / width),
                buffer(output, self.values / width),
                index(tiles),
                index(self.values),
                scale,
                stages,
                tile,
                input_type,
                output_type,
            );
        }
    }

    /// Computes `stages` stages after the first `done`, and multiplies by `scale`.
    fn strided(
        &self,
        input: &Handle,
        output: &Handle,
        done: usize,
        stages: usize,
        scale: f32,
        output_type: ElemType,
    ) {
        let units = self.values >> stages;
        let (cube_count, cube_dim) = elementwise(self.client, units);
        // SAFETY: units beyond `units` stop, the others stay inside their block.
        unsafe {
            transform_strided::launch_unchecked(
                self.client,
                cube_count,
                cube_dim,
                buffer(input, self.values),
                buffer(output, self.values),
                index(units),
                index(1 << done),
                scale,
                stages,
                output_type,
            );
        }
    }
}
