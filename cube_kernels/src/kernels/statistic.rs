//! Statistic of each group: one reduction for rows, one for columns.

use cubecl::{client::Client, prelude::*, server::Handle};

use super::launch::{buffer, elementwise, index, one_cube_each, reduce_units, vector_size};
use crate::{
    Groups, Statistic,
    reference::{EPSILON, mean_prescale},
};

/// Returns the larger of two non-negative values; NaN is larger than every number.
///
/// The bit patterns of non-negative floats have the order of their values, NaN at the top. The
/// float maximum of most devices drops a NaN instead.
#[cube]
fn max_non_negative(a: f32, b: f32) -> f32 {
    f32::reinterpret(max(u32::reinterpret(a), u32::reinterpret(b)))
}

/// Returns `|value|`, also without the sign of a NaN.
#[cube]
pub(super) fn absolute(value: f32) -> f32 {
    f32::reinterpret(u32::reinterpret(value) & 0x7fff_ffffu32)
}

/// Returns `magnitude * 2^-k` for `shift = k << 23`, computed on the exponent. Results below the smallest
/// normal number are zero; infinity and NaN stay.
///
/// A float multiplication is not safe: shader compilers may turn `a * s + b * s` into `(a + b) * s`, and
/// then the sum overflows, which this function prevents.
#[cube]
fn shift_exponent(magnitude: f32, shift: u32) -> f32 {
    let bits = u32::reinterpret(magnitude);
    let exponent_one = 0x0080_0000u32;
    let infinity = 0x7f80_0000u32;
    let shifted = select(bits < shift + exponent_one, 0u32, bits - shift);
    f32::reinterpret(select(bits >= infinity, bits, shifted))
}

/// Merges two partial statistics.
#[cube]
fn combine(a: f32, b: f32, #[comptime] statistic: Statistic) -> f32 {
    if comptime!(matches!(statistic, Statistic::AbsMean)) {
        a + b
    } else {
        max_non_negative(a, b)
    }
}

/// Returns the scale from a complete sum or maximum.
#[cube]
fn finish(value: f32, denominator: f32, #[comptime] statistic: Statistic) -> f32 {
    let complete = if comptime!(matches!(statistic, Statistic::AbsMean)) {
        value / denominator
    } else {
        value
    };
    at_least_epsilon(complete)
}

/// Applies the lower bound of a scale; a NaN stays a NaN.
#[cube]
pub(super) fn at_least_epsilon(value: f32) -> f32 {
    max_non_negative(value, EPSILON)
}

/// Returns the statistic of `vectors` vectors from `start`, over all units of the cube.
///
/// Every unit of the cube must call it, and every unit gets the result.
#[cube]
pub(super) fn reduce_in_cube<F: Float, N: Size>(
    input: &[Vector<F, N>],
    start: usize,
    vectors: usize,
    shift: u32,
    #[comptime] statistic: Statistic,
    #[comptime] units: u32,
) -> f32 {
    let unit = UNIT_POS as usize;
    let mut partial = 0.0f32;
    let mut i = unit;
    while i < vectors {
        let value = input[start + i];
        #[unroll]
        for lane in 0..N::value() {
            let magnitude = shift_exponent(absolute(f32::cast_from(value.extract(lane))), shift);
            partial = combine(partial, magnitude, statistic);
        }
        i += CUBE_DIM as usize;
    }

    let mut shared = Shared::<[f32]>::new_slice(units as usize);
    shared[unit] = partial;
    sync_cube();
    #[unroll]
    for step in 0..comptime!(units.ilog2()) {
        let active = comptime!((units >> (step + 1)) as usize);
        if unit < active {
            shared[unit] = combine(shared[unit], shared[unit + active], statistic);
        }
        sync_cube();
    }
    shared[0]
}

/// Each cube reduces one chunk of a row: cube `row * chunks + chunk`.
#[cube(launch_unchecked)]
pub(super) fn reduce_chunks<F: Float, N: Size>(
    input: &[Vector<F, N>],
    output: &mut [f32],
    cubes: u32,
    row_vectors: u32,
    chunk_vectors: u32,
    shift: u32,
    denominator: f32,
    #[comptime] statistic: Statistic,
    #[comptime] complete: bool,
    #[comptime] units: u32,
    #[define(F)] _dtype: ElemType,
) {
    let cube = CUBE_POS;
    if cube >= cubes as usize {
        terminate!();
    }
    let chunks = (row_vectors as usize).div_ceil(chunk_vectors as usize);
    let start = cube % chunks * chunk_vectors as usize;
    let vectors = min(chunk_vectors as usize, row_vectors as usize - start);
    let value = reduce_in_cube::<F, N>(
        input,
        cube / chunks * row_vectors as usize + start,
        vectors,
        shift,
        statistic,
        units,
    );
    if UNIT_POS == 0 {
        output[cube] = if comptime!(complete) {
            finish(value, denominator, statistic)
        } else {
            value
        };
    }
}

/// Each unit reduces one column: neighboring units read neighboring values.
#[cube(launch_unchecked)]
pub(super) fn reduce_columns<F: Float>(
    input: &[F],
    output: &mut [f32],
    columns: u32,
    size: u32,
    inner: u32,
    shift: u32,
    denominator: f32,
    #[comptime] statistic: Statistic,
    #[define(F)] _dtype: ElemType,
) {
    let column = ABSOLUTE_POS;
    if column >= columns as usize {
        terminate!();
    }
    let inner = inner as usize;
    let start = column / inner * inner * size as usize + column % inner;
    let mut value = 0.0f32;
    for i in 0..size as usize {
        let magnitude = shift_exponent(absolute(f32::cast_from(input[start + i * inner])), shift);
        value = combine(value, magnitude, statistic);
    }
    output[column] = finish(value, denominator, statistic);
}

/// Number of vectors above which a row is reduced by several cubes.
const MAX_CHUNK_VECTORS: usize = 16_384;

/// Computes the statistic of every group of `input` into `output`.
///
/// # Shapes
///
/// - input: `groups.num_elements()` values of type `dtype`
/// - output: `groups.num_groups()` values `f32`
pub fn group_statistic(
    client: &Client,
    input: &Handle,
    output: &Handle,
    groups: Groups,
    statistic: Statistic,
    dtype: ElemType,
) {
    if groups.num_groups() == 0 {
        return;
    }
    // Exact: a power of two.
    let prescale = match statistic {
        Statistic::AbsMean => mean_prescale(groups.size),
        Statistic::AbsMax => 1.0,
    };
    let shift = 1f32.to_bits() - prescale.to_bits();
    let denominator = groups.size.max(1) as f32 * prescale;
    if groups.inner > 1 {
        let columns = groups.num_groups();
        let (cube_count, cube_dim) = elementwise(client, columns);
        // SAFETY: units beyond `columns` stop, the others stay inside `groups`.
        unsafe {
            reduce_columns::launch_unchecked(
                client,
                cube_count,
                cube_dim,
                buffer(input, groups.num_elements()),
                buffer(output, columns),
                index(columns),
                index(groups.size),
                index(groups.inner),
                shift,
                denominator,
                statistic,
                dtype,
            );
        }
        return;
    }

    let width = vector_size(client, groups, dtype);
    let rows = Rows {
        rows: groups.outer,
        vectors: groups.size / width,
        width,
    };
    if rows.vectors <= MAX_CHUNK_VECTORS {
        rows.reduce(
            client,
            input,
            output,
            shift,
            Some(denominator),
            statistic,
            dtype,
        );
        return;
    }
    let chunks = rows.vectors.div_ceil(MAX_CHUNK_VECTORS);
    let partial = client.empty(rows.rows * chunks * size_of::<f32>());
    rows.reduce(client, input, &partial, shift, None, statistic, dtype);
    let partials = Rows {
        rows: rows.rows,
        vectors: chunks,
        width: 1,
    };
    let f32_type = f32::elem_type_native();
    partials.reduce(
        client,
        &partial,
        output,
        0,
        Some(denominator),
        statistic,
        f32_type,
    );
}

/// Rows of `vectors` vectors of `width` values.
struct Rows {
    rows: usize,
    vectors: usize,
    width: usize,
}

impl Rows {
    /// Reduces each row, in chunks; with a `denominator`, each row is one chunk and gives its scale.
    #[allow(clippy::too_many_arguments)]
    fn reduce(
        &self,
        client: &Client,
        input: &Handle,
        output: &Handle,
        shift: u32,
        denominator: Option<f32>,
        statistic: Statistic,
        dtype: ElemType,
    ) {
        let chunk_vectors = match denominator {
            Some(_) => self.vectors.max(1),
            None => MAX_CHUNK_VECTORS,
        };
        let cubes = self.rows * self.vectors.div_ceil(chunk_vectors).max(1);
        let units = reduce_units(client);
        let (cube_count, cube_dim) = one_cube_each(client, cubes, units);
        // SAFETY: cubes beyond `cubes` stop, the others stay inside their row.
        unsafe {
            reduce_chunks::launch_unchecked(
                client,
                cube_count,
                cube_dim,
                self.width,
                buffer(input, self.rows * self.vectors),
                buffer(output, cubes),
                index(cubes),
                index(self.vectors),
                index(chunk_vectors),
                shift,
                denominator.unwrap_or(1.0),
                statistic,
                denominator.is_some(),
                units,
                dtype,
            );
        }
    }
}
