//! Shared parts of the launchers: cube sizes, vector widths and buffer arguments.

use cubecl::{calculate_cube_count_elemwise, client::Client, prelude::*, server::Handle};

use crate::Groups;

/// Units of a cube that reduces together: few enough for the occupancy of every GPU, enough to hide
/// the latency of the loads.
const REDUCE_UNITS: u32 = 256;

/// Returns the largest power of two of units, at most [`REDUCE_UNITS`], that the device allows in a cube
/// (a power of two because the tree reduction halves it; the CPU runtime allows one per core).
pub(super) fn reduce_units(client: &Client) -> u32 {
    let allowed = client.properties().hardware.max_units_per_cube.max(1);
    let units = REDUCE_UNITS.min(allowed);
    1 << units.ilog2()
}

/// Returns the cube count and dimension with one unit for each of `working_units`.
pub(super) fn elementwise(client: &Client, working_units: usize) -> (CubeCount, CubeDim) {
    let cube_dim = CubeDim::new(client, working_units);
    let cube_count = calculate_cube_count_elemwise(client, working_units, cube_dim);
    (cube_count, cube_dim)
}

/// Returns the cube count and dimension with one cube of `units` for each of `cubes`.
pub(super) fn one_cube_each(client: &Client, cubes: usize, units: u32) -> (CubeCount, CubeDim) {
    let cube_dim = CubeDim::new_1d(units);
    let cube_count = calculate_cube_count_elemwise(client, cubes * units as usize, cube_dim);
    (cube_count, cube_dim)
}

/// Returns the widest vector size that divides the groups, so that no vector crosses the end of a group.
/// Vectors need groups of neighboring values.
pub(super) fn vector_size(client: &Client, groups: Groups, dtype: ElemType) -> usize {
    if groups.inner != 1 {
        return 1;
    }
    client
        .io_optimized_vector_sizes(dtype.size())
        .filter(|width| groups.size.is_multiple_of(*width))
        .max()
        .unwrap_or(1)
}

/// Returns a buffer of `length` values (or vectors) as a kernel argument.
pub(super) fn buffer(handle: &Handle, length: usize) -> BufferArg {
    // SAFETY: every caller passes the length for which the handle was allocated, and the kernels
    // check their positions against it.
    unsafe { BufferArg::from_raw_parts(handle.clone(), length) }
}

/// Converts the number to a kernel's 32-bit index.
///
/// # Panics
///
/// If it is too large: the kernels address at most `u32::MAX` values.
pub(super) fn index(n: usize) -> u32 {
    u32::try_from(n)
        .unwrap_or_else(|_| panic!("kernels address at most {} values, got {n}", u32::MAX))
}
