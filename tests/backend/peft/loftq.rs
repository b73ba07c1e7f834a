//! LoftQ and the truncated decompositions of weights.

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, BitNetLmConfig, Linear4bit, PackedBitLinear},
    peft::{AdapterBase, Lora, LoraConfig, LoraInit, TargetModules, loftq},
    quant::{FourBitConfig, QatScheme},
};
use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{DType, Device, Tensor},
};

use crate::support::{oracle::Oracle, values::*};

fn linear(weight: Tensor<2>) -> Linear {
    Linear {
        weight: Param::from_tensor(weight),
        bias: None,
    }
}

fn nf4(linear: Linear) -> Linear4bit {
    Linear4bit::from_linear(&linear, &FourBitConfig::default().with_double_quant(false))
}

fn ternary(linear: Linear) -> PackedBitLinear {
    BitLinear::from_linear(linear, &QatScheme::b1_58()).pack()
}

fn drawn(shape: [usize; 2], seed: u64) -> Tensor<2> {
    let values = normal(shape[0] * shape[1], seed);
    tensor(&values, shape, DType::F32, &Device::default().autodiff())
}

fn norm(of: Tensor<2>) -> f64 {
    f64::from(of.square().sum().into_scalar::<f32>()).sqrt()
}

fn delta(lora: &Lora) -> Tensor<2> {
    lora.delta().without_autodiff()
}

#[test]
fn bases_and_products_are_those_of_peft() {
    let oracle = Oracle::open("l_peft");
    let case = oracle.case("loftq");
    let weight = case.tensor::<2>("weight", &Device::default());
    let layer = linear(weight.clone().transpose());
    for iterations in [1, 2, 5] {
        let (base, lora) = loftq(&layer, 4, 1.0, iterations, nf4);
        let expected = case.floats(&format!("{iterations}.base"));
        let found = floats(base.dense_weight().transpose());
        // Codes are the same unless a value is on the border of two within the rounding of the product.
        // Absolute maxima have the rounding of the product, and codes are the same unless a value is on the border of
        // two within it; the closest codes are 0.08 of an absolute maximum of about 0.2 apart.
        let apart =
            |(a, b): &(&f32, &f32)| (*a - *b).abs() > if iterations == 1 { 0.0 } else { 1e-6 };
        let differ = found.iter().zip(&expected).filter(apart).count();
        assert!(differ <= 6 * (iterations - 1), "{differ} codes");
        let product = case.tensor::<2>(&format!("{iterations}.product"), &Device::default());
        let ours = delta(&lora).transpose();
        let off = norm(ours - product.clone()) / norm(product);
        // The decomposition of the error of 3072 values, of which a few may have another code.
        let bound = if differ == 0 { 1e-4 } else { 0.05 };
        assert!(off < bound, "product {iterations}: {off:e}, {differ} codes");
    }
}

/// Checks that the error falls with each iteration, and is below that of the quantized weight alone.
fn assert_falls<Q: AdapterBase>(quantize: impl Fn(Linear) -> Q, scaling: f64) {
    let weight = drawn([64, 96], 5);
    let layer = linear(weight.clone());
    let weight = weight.without_autodiff();
    let plain = norm(quantize(layer.clone()).dense_weight() - weight.clone());
    let mut last = plain;
    for iterations in 1..=5 {
        let (base, lora) = loftq(&layer, 8, scaling, iterations, &quantize);
        let error = norm(base.dense_weight() + delta(&lora) - weight.clone());
        assert!(
            error < last,
            "{iterations}: {error} is not below {last}, without {plain}"
        );
        last = error;
    }
    assert!(last < 0.9 * plain, "{last} against {plain}");
}

#[test]
fn the_error_falls_with_each_iteration_for_codes_of_4_bits_and_ternary_ones() {
    for scaling in [1.0, 0.25] {
        assert_falls(nf4, scaling);
        assert_falls(ternary, scaling);
    }
}

#[test]
fn a_model_gets_adapters_that_make_up_for_its_quantization() {
    let config = BitNetLmConfig::new(64, 32, 1, 4, 48);
    let lm: BitNetLm<Linear> = config
        .init(&Device::default().autodiff())
        .map(&mut Drawn::new(70, 0.15));
    let error = |init, use_dora: bool| {
        let mut lora = LoraConfig::new(4).with_targets(TargetModules::AllLinear);
        lora.use_dora = use_dora;
        let before: Vec<_> = lm.projections().map(|(_, p)| p.dense_weight()).collect();
        let (adapted, report) = match init {
            LoraInit::Loftq(_) => {
                let lora = lora.with_init(init);
                lm.clone().with_loftq("default", &lora, |_, l| nf4(l))
            }
            _ => {
                let quantized = lm.clone().map_projections(|_, l| nf4(l));
                quantized.with_adapter("default", &lora)
            }
        }
        .unwrap();
        assert_eq!(report.modules.len(), 7);
        let expected: usize = report.modules.iter().map(|m| m.num_params).sum();
        assert_eq!(report.num_trainable, expected);
        let pairs = adapted.projections().zip(before);
        pairs
            .map(|((_, p), before)| norm(p.dense_weight() - before))
            .sum::<f64>()
    };
    let plain = error(LoraInit::Kaiming, false);
    let [one, five] = [1, 5].map(|iterations| error(LoraInit::Loftq(iterations), false));
    assert!(five < one && one < plain, "{five}, {one}, {plain}");
    // Norms of the directions are those of the base with its adapter, so that DoRA starts with the same weight.
    assert!((error(LoraInit::Loftq(5), true) - five).abs() < 1e-4 * five);
}

#[test]
fn loftq_of_a_quantized_model_and_large_ranks_are_refused() {
    let lm =
        || -> BitNetLm<Linear> { BitNetLmConfig::new(64, 32, 1, 4, 48).init(&Device::default()) };
    let loftq = LoraConfig::new(4).with_init(LoraInit::Loftq(1));
    let error = lm()
        .with_adapter("default", &loftq)
        .unwrap_err()
        .to_string();
    assert!(error.contains("BitNetLm::with_loftq"), "{error}");
    let error = lm().with_loftq("default", &LoraConfig::new(4), |_, l| nf4(l));
    assert_eq!(
        error.unwrap_err().to_string(),
        "init must be loftq, got kaiming"
    );
    let error = lm().with_loftq("default", &loftq.with_init(LoraInit::Loftq(0)), |_, l| {
        nf4(l)
    });
    let error = error.unwrap_err().to_string();
    assert_eq!(
        error,
        "the iterations of init loftq must be 1 or more, got 0"
    );
    for (rank, init, expected) in [
        (
            33,
            LoraInit::Pissa,
            "must be at most 32 for init pissa, got 33",
        ),
        (
            3,
            LoraInit::Orthogonal,
            "must be even for init orthogonal, got 3",
        ),
    ] {
        let config = LoraConfig::new(rank).with_init(init);
        let error = lm()
            .with_adapter("default", &config)
            .unwrap_err()
            .to_string();
        assert!(error.ends_with(expected), "{error}");
    }
}

#[test]
fn subspace_iterations_come_to_the_largest_singular_values() {
    for shape in [[48, 64], [64, 48]] {
        // Rank 3, and a rest of a hundredth.
        let strong = drawn([shape[0], 3], 6).matmul(drawn([3, shape[1]], 7)) * 10.0;
        let lm_of = |init| {
            let config = BitNetLmConfig::new(16, 48, 1, 2, 64);
            let lm: BitNetLm<Linear> = config
                .init(&Device::default())
                .map(&mut Drawn::new(80, 0.01));
            let weight = strong.clone().without_autodiff();
            let lm = lm.map_projections(|_, p| {
                if p.size() != shape {
                    return p;
                }
                let sum = p.dense_weight() + weight.clone();
                p.with_weight(sum, None)
            });
            let targets = if shape[0] == 48 {
                "up_proj"
            } else {
                "down_proj"
            };
            let config = LoraConfig::new(3)
                .with_init(init)
                .with_targets(TargetModules::names([targets]));
            let (lm, _) = lm.with_adapter("default", &config).unwrap();
            let adapted = lm.projections().find_map(|(_, p)| {
                let lora = p.adapter("default")?.as_lora()?;
                Some((lora.delta(), p.base.dense_weight()))
            });
            adapted.unwrap()
        };
        let (exact, residual) = lm_of(LoraInit::Pissa);
        let errors = [0, 1, 4].map(|iterations| {
            let (product, rest) = lm_of(LoraInit::PissaNiter(iterations));
            let whole = norm(product.clone() + rest - exact.clone() - residual.clone());
            assert!(
                whole < 1e-5 * norm(exact.clone()),
                "product and rest: {whole}"
            );
            norm(product - exact.clone()) / norm(exact.clone())
        });
        assert!(errors[0] > errors[1] && errors[2] < 1e-5, "{errors:?}");
        let (again, _) = lm_of(LoraInit::PissaNiter(0));
        let (first, _) = lm_of(LoraInit::PissaNiter(0));
        assert_equal(&floats(again), &floats(first), "the same random vectors");
    }
}
