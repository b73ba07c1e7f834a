//! 4-bit codes against bitsandbytes and the scalar reference.

use bitnet_burn::{
    functions::{
        DynamicMap, FourBitAbsmax, FourBitFormat, FourBitTensor, four_bit_dequantize,
        four_bit_quantize,
    },
    quant::FourBitType,
};
use bitnet_burn_kernels::reference;
use burn::tensor::{DType, Device, FloatDType, Tensor};

use crate::support::{
    oracle::{Case, Oracle},
    values::*,
};

const TYPES: [FourBitType; 2] = [FourBitType::Nf4, FourBitType::Fp4];

/// Returns the bytes of words of codes, without the rest of the last word.
fn bytes<const D: usize>(tensor: &FourBitTensor<D>) -> Vec<u8> {
    let words = ints::<1, u32>(tensor.codes.clone());
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    let rest = bytes.split_off(FourBitFormat::num_bytes(tensor.num_values()));
    assert!(rest.iter().all(|&byte| byte == 0), "padding of the words");
    bytes
}

fn plain(absmax: &FourBitAbsmax) -> Vec<f32> {
    match absmax {
        FourBitAbsmax::Plain(absmax) => floats(absmax.clone()),
        FourBitAbsmax::DoubleQuantized { .. } => panic!("double quantized"),
    }
}

/// Returns the bits of values: a NaN equals itself, and zeros have signs.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn format_of(case: &Case<'_>) -> FourBitFormat {
    FourBitFormat {
        quant_type: match case.about["quant_type"].as_str() {
            Some("nf4") => FourBitType::Nf4,
            Some("fp4") => FourBitType::Fp4,
            other => panic!("{other:?}"),
        },
        block_size: case.number("blocksize") as usize,
    }
}

#[test]
fn code_tables_are_those_of_bitsandbytes() {
    let oracle = Oracle::open("f_nf4");
    let tables = oracle.case("codebook");
    for (quant_type, name) in TYPES.into_iter().zip(["nf4", "fp4"]) {
        let values = quant_type.values();
        assert_equal(&bits(values), &bits(&tables.floats(name)), name);
    }
    let map = tables.floats("dynamic_map_8bit");
    assert_equal(DynamicMap::Signed.values(), &map, "dynamic map");
}

#[test]
fn codes_and_maxima_are_those_of_bitsandbytes() {
    let device = Device::default();
    let oracle = Oracle::open("f_nf4");
    let cases = oracle.cases().into_iter();
    for case in cases.filter(|case| case.has("packed")) {
        let what = &case.name;
        let values = case.tensor::<2>("A", &device);
        let mut quantized = four_bit_quantize(values, format_of(&case));
        assert_equal(&bytes(&quantized), &case.bytes("packed"), what);
        if case.about["double_quant"] == true {
            quantized = quantized.double_quantized();
            check_double_quantized(&case, &quantized);
        } else {
            let absmax = plain(&quantized.absmax);
            assert_equal(&bits(&absmax), &bits(&case.floats("absmax")), what);
        }
        let dequantized = floats(four_bit_dequantize(&quantized, FloatDType::F32));
        assert_equal(&dequantized, &case.floats("dequant"), what);
    }
}

/// Checks codes, absolute maxima and offset of the absolute maxima.
fn check_double_quantized(case: &Case<'_>, quantized: &FourBitTensor<2>) {
    let FourBitAbsmax::DoubleQuantized {
        codes,
        absmax,
        offset,
    } = &quantized.absmax
    else {
        panic!("not double quantized");
    };
    let what = &case.name;
    let expected = case.bytes("absmax_u8");
    let words = ints::<1, u32>(codes.clone());
    let mut codes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    codes.truncate(expected.len());
    assert_equal(&codes, &expected, what);
    assert_equal(&floats(absmax.clone()), &case.floats("nested_absmax"), what);
    assert_equal(&floats(offset.clone()), &case.floats("nested_offset"), what);
    let values = floats(quantized.absmax.values(expected.len()));
    assert_equal(&values, &case.floats("absmax_dequant"), what);
}

/// Checks codes, absolute maxima and values against the scalar reference, bit for bit.
fn check(values: &[f32], format: FourBitFormat, dtype: DType) {
    let device = Device::default();
    let n = values.len();
    let what = format!("{n} values of {dtype:?}, {format:?}");
    let quantized = four_bit_quantize(tensor(values, [n], dtype, &device), format);
    let (codes, absmax) = reference::four_bit_quantize(values, format);
    assert_equal(&bytes(&quantized), &codes, &what);
    let found = plain(&quantized.absmax);
    // The bits of a NaN depend on the device.
    let same = |a: &f32, b: &f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
    let equal =
        |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    assert!(equal(&found, &absmax), "{what}: {found:?} {absmax:?}");
    let dequantized = floats(four_bit_dequantize(&quantized, dtype.into()));
    let expected = reference::four_bit_dequantize(&codes, &absmax, format, n);
    assert!(equal(&dequantized, &rounded(&expected, dtype)), "{what}");
}

#[test]
fn codes_equal_the_reference_for_every_type_block_and_rest() {
    let device = Device::default();
    let sizes = [1, 2, 7, 8, 31, 32, 33, 63, 64, 65, 127, 300, 1000];
    for quant_type in TYPES {
        for dtype in float_types(&device) {
            for (i, n) in sizes.into_iter().enumerate() {
                for block_size in [32, 64, 256] {
                    let format = FourBitFormat {
                        quant_type,
                        block_size,
                    };
                    check(&rounded(&normal(n, i as u64), dtype), format, dtype);
                }
            }
        }
        // Enough for several threads.
        for block_size in [32, 64, 128, 256, 512, 1024, 2048, 4096] {
            let format = FourBitFormat {
                quant_type,
                block_size,
            };
            check(&normal(70_001, 9), format, DType::F32);
        }
    }
}

#[test]
fn ties_have_the_lower_code() {
    for quant_type in TYPES {
        let format = FourBitFormat {
            quant_type,
            block_size: 64,
        };
        let thresholds = quant_type.thresholds().iter();
        let mut values: Vec<f32> = thresholds
            .flat_map(|&t| [t.next_down(), t, t.next_up()])
            .collect();
        // The absolute maximum is 1, in a full block and in a shorter one.
        values.resize(64, 1.0);
        check(&values, format, DType::F32);
        check(&values[..63], format, DType::F32);
    }
}

#[test]
fn zeros_and_values_that_are_not_numbers_stay_in_their_block() {
    for quant_type in TYPES {
        let format = FourBitFormat {
            quant_type,
            block_size: 32,
        };
        for hostile in [0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = normal(75, 3);
            values[40] = hostile;
            values[70] = hostile;
            check(&values, format, DType::F32);
            check(&[hostile; 75], format, DType::F32);
        }
        if on_cpu_library() {
            let tiny = normal(75, 4).into_iter().map(|v| 1e-38 * v);
            check(&tiny.collect::<Vec<_>>(), format, DType::F32);
            let huge = normal(75, 4).into_iter().map(|v| 1e38 * v);
            check(&huge.collect::<Vec<_>>(), format, DType::F32);
        }
    }
}

#[test]
fn a_tensor_without_values_has_no_codes() {
    let device = Device::default();
    let format = FourBitFormat {
        quant_type: FourBitType::Nf4,
        block_size: 64,
    };
    let quantized = four_bit_quantize(Tensor::<2>::zeros([0, 5], &device), format);
    let quantized = quantized.double_quantized();
    assert_eq!(quantized.codes.dims(), [0]);
    let values = four_bit_dequantize(&quantized, FloatDType::F32);
    assert_eq!(values.dims(), [0, 5]);
}

#[test]
fn views_are_quantized_as_what_they_show() {
    let device = Device::default();
    let format = FourBitFormat {
        quant_type: FourBitType::Nf4,
        block_size: 32,
    };
    let values = tensor(&normal(37 * 21, 5), [37, 21], DType::F32, &device);
    let transposed = values.transpose();
    let (codes, _) = reference::four_bit_quantize(&floats(transposed.clone()), format);
    let quantized = four_bit_quantize(transposed, format);
    assert_equal(&bytes(&quantized), &codes, "codes");
    // The same codes and maxima as views.
    let expected = floats(four_bit_dequantize(&quantized, FloatDType::F32));
    let words = quantized.codes.dims()[0];
    let codes = Tensor::cat(vec![quantized.codes.clone(), quantized.codes], 0);
    let absmax = Tensor::<1>::from_floats(plain(&quantized.absmax).as_slice(), &device);
    let blocks = absmax.dims()[0];
    let absmax = Tensor::cat(vec![absmax.clone(), absmax], 0);
    let views = FourBitTensor {
        codes: codes.narrow(0, words, words),
        absmax: FourBitAbsmax::Plain(absmax.narrow(0, blocks, blocks)),
        format,
        shape: [21, 37],
    };
    let found = floats(four_bit_dequantize(&views, FloatDType::F32));
    assert_equal(&found, &expected, "values of views");
}

#[test]
fn equal_maxima_are_their_own_mean() {
    let device = Device::default();
    let format = FourBitFormat {
        quant_type: FourBitType::Nf4,
        block_size: 32,
    };
    let values = four_bit_quantize(Tensor::<1>::full([100], 0.3, &device), format);
    let found = four_bit_dequantize(&values.double_quantized(), FloatDType::F32);
    assert_equal(&floats(found), &[0.3; 100], "values");
}

#[test]
#[should_panic(expected = "a block of 4-bit codes is a power of two from 32 to 4096, got 48")]
fn a_block_of_another_size_is_refused() {
    let format = FourBitFormat {
        quant_type: FourBitType::Nf4,
        block_size: 48,
    };
    four_bit_quantize(Tensor::<1>::zeros([100], &Device::default()), format);
}

#[test]
#[should_panic(expected = "100 codes of 4 bits are 13 words of u32, got [8] of U32")]
fn codes_of_another_shape_are_refused() {
    let format = FourBitFormat {
        quant_type: FourBitType::Nf4,
        block_size: 64,
    };
    let values = four_bit_quantize(Tensor::<1>::zeros([64], &Device::default()), format);
    let wrong = FourBitTensor {
        shape: [100],
        ..values
    };
    four_bit_dequantize(&wrong, FloatDType::F32);
}

#[test]
#[should_panic(expected = "2 blocks have [2, 0, 0] f32 absolute maxima")]
fn maxima_of_another_shape_are_refused() {
    let format = FourBitFormat {
        quant_type: FourBitType::Nf4,
        block_size: 64,
    };
    let device = Device::default();
    let values = four_bit_quantize(Tensor::<1>::zeros([100], &device), format);
    let wrong = FourBitTensor {
        absmax: FourBitAbsmax::Plain(Tensor::zeros([3], &device)),
        ..values
    };
    four_bit_dequantize(&wrong, FloatDType::F32);
}
