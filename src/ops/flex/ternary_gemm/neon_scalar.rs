//! Instructions of [`neon`](super::neon) as scalar code, by their definitions in the
//! [Arm intrinsics reference](https://developer.arm.com/architectures/instruction-sets/intrinsics), so that
//! tests on other processors run its loops.

#![expect(non_camel_case_types, reason = "the names of Arm")]

pub type uint8x16_t = [u8; 16];
pub type int8x16_t = [i8; 16];
pub type uint32x4_t = [u32; 4];
pub type int32x4_t = [i32; 4];

/// Adds the products of four neighboring signed bytes to each sum (`sdot`).
pub fn add_products(sums: int32x4_t, weights: uint8x16_t, codes: int8x16_t) -> int32x4_t {
    std::array::from_fn(|i| {
        let products = (4 * i..4 * i + 4).map(|j| weights[j] as i8 as i32 * codes[j] as i32);
        sums[i] + products.sum::<i32>()
    })
}

pub fn vdupq_n_u8(value: u8) -> uint8x16_t {
    [value; 16]
}

pub fn vdupq_n_u32(value: u32) -> uint32x4_t {
    [value; 4]
}

pub fn vdupq_n_s32(value: i32) -> int32x4_t {
    [value; 4]
}

pub fn vandq_u8(a: uint8x16_t, b: uint8x16_t) -> uint8x16_t {
    std::array::from_fn(|i| a[i] & b[i])
}

pub fn vshrq_n_u8<const N: i32>(a: uint8x16_t) -> uint8x16_t {
    a.map(|byte| byte >> N)
}

/// Returns the bytes of a register; the first of a word is its lowest.
pub fn vreinterpretq_u8_u32(a: uint32x4_t) -> uint8x16_t {
    std::array::from_fn(|i| a[i / 4].to_le_bytes()[i % 4])
}

pub fn vreinterpretq_s8_u32(a: uint32x4_t) -> int8x16_t {
    vreinterpretq_u8_u32(a).map(|byte| byte as i8)
}

pub fn vaddvq_s32(a: int32x4_t) -> i32 {
    a.into_iter().sum()
}

/// # Safety
///
/// Four words must be at the pointer.
pub unsafe fn vld1q_u32(values: *const u32) -> uint32x4_t {
    // SAFETY: guaranteed by the caller.
    unsafe { values.cast::<uint32x4_t>().read() }
}

/// # Safety
///
/// Sixteen bytes must be at the pointer.
pub unsafe fn vld1q_s8(values: *const i8) -> int8x16_t {
    // SAFETY: guaranteed by the caller.
    unsafe { values.cast::<int8x16_t>().read() }
}

/// # Safety
///
/// There must be room for four integers at the pointer.
pub unsafe fn vst1q_s32(values: *mut i32, a: int32x4_t) {
    // SAFETY: guaranteed by the caller.
    unsafe { values.cast::<int32x4_t>().write(a) }
}
