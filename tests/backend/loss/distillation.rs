//! Divergence of logits: against PyTorch, and against scalar code in `f64`.

use bitnet_burn::loss::{
    DistillationLossConfig, LogitsDistillationLoss, StudentStates, TeacherStates, TopKLogits,
};
use burn::{
    nn::loss::CrossEntropyLossConfig,
    tensor::{Bool, DType, Device, Tensor, TensorData},
};

use crate::support::{oracle::Oracle, values::*};

/// Value of a loss and its gradient with respect to the student.
pub fn value_and_gradient<const D: usize>(
    student: Tensor<D>,
    loss: impl Fn(Tensor<D>) -> Tensor<1>,
) -> (f32, Vec<f32>) {
    let student = student.require_grad();
    let loss = loss(student.clone());
    let grads = loss.backward();
    let gradient = student.grad(&grads).expect("the student has a gradient");
    (loss.into_scalar::<f32>(), floats(gradient))
}

/// Central differences of a scalar function in `f64`; the step makes their error about 1e-9.
pub fn differences(x: &[f64], f: impl Fn(&[f64]) -> f64) -> Vec<f32> {
    let step = 1e-5;
    let at = |i: usize, by: f64| {
        let mut moved = x.to_vec();
        moved[i] += by;
        f(&moved)
    };
    (0..x.len())
        .map(|i| ((at(i, step) - at(i, -step)) / (2.0 * step)) as f32)
        .collect()
}

pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| v as f64).collect()
}

/// Returns logits with a spread of about 2.
fn logits(n: usize, seed: u64) -> Vec<f32> {
    normal(n, seed).into_iter().map(|v| 20.0 * v).collect()
}

fn softmax(z: &[f64]) -> Vec<f64> {
    let sum: f64 = z.iter().map(|z| z.exp()).sum();
    z.iter().map(|z| z.exp() / sum).collect()
}

pub fn kl(teacher: &[f64], student: &[f64]) -> f64 {
    let terms = softmax(teacher).into_iter().zip(softmax(student));
    terms
        .map(|(p, q)| if p == 0.0 { 0.0 } else { p * (p / q).ln() })
        .sum()
}

/// Returns the loss over rows of `vocab` logits, times `T^2`.
fn reference(student: &[f64], teacher: &[f64], vocab: usize, t: f64) -> f64 {
    let scaled = |row: &[f64]| row.iter().map(|z| z / t).collect::<Vec<_>>();
    let rows = student.chunks(vocab).zip(teacher.chunks(vocab));
    let sum: f64 = rows.map(|(s, z)| kl(&scaled(z), &scaled(s))).sum();
    t * t * sum * vocab as f64 / student.len() as f64
}

// All logits here are within +-8. A logarithm of a probability is a sum of at most 16
// exponentials under a logarithm: about 20 roundings, of numbers up to 2^4, on either side. The
// loss is a mean of them weighted by probabilities; a gradient is T / N times a difference of two
// probabilities, each with the relative error of the absolute one of its logarithm.
const LOG_PROBABILITY: f64 = 2.0 * 20.0 * 16.0 * ROUNDING;

#[test]
fn divergence_and_gradient_equal_pytorch_at_each_temperature() {
    let device = Device::default().autodiff();
    for case in Oracle::open("j_distill").cases() {
        if case.has("labels") {
            continue;
        }
        let t = case.number("temperature");
        let loss = LogitsDistillationLoss::new().with_temperature(t);
        let (value, gradient) = match case.shape("student").len() {
            2 => value_and_gradient(case.tensor::<2>("student", &device), |student| {
                loss.forward(student, case.tensor("teacher", &device))
            }),
            _ => value_and_gradient(case.tensor::<3>("student", &device), |student| {
                loss.forward(student, case.tensor("teacher", &device))
            }),
        };
        let what = |part: &str| format!("{}: {part}", case.name);
        let bound = t * t * LOG_PROBABILITY;
        let worst = assert_within(&[value], &case.floats("loss"), |_| bound, &what("loss"));
        println!("{}: {worst:.3} of the bound", what("loss"));
        let bound = t * LOG_PROBABILITY;
        let expected = case.floats("grad_student");
        let worst = assert_within(&gradient, &expected, |_| bound, &what("gradient"));
        println!("{}: {worst:.3} of the bound", what("gradient"));
    }
}

#[test]
fn weighted_sum_with_cross_entropy_equals_pytorch() {
    let device = Device::default().autodiff();
    let case = Oracle::open("j_distill");
    let case = case.case("combined_a0.7_T2");
    let (alpha, t) = (case.number("alpha"), case.number("temperature"));
    let loss = DistillationLossConfig::new()
        .with_task_weight(1.0 - alpha)
        .with_logits_weight(alpha)
        .with_logits(Some(LogitsDistillationLoss::new().with_temperature(t)))
        .init(&device);
    let labels = case.labels("labels", &device);
    let teacher: Tensor<2> = case.tensor("teacher", &device);
    let (value, gradient) = value_and_gradient(case.tensor::<2>("student", &device), |student| {
        let cross_entropy = CrossEntropyLossConfig::new().init(&device);
        let task = cross_entropy.forward(student.clone(), labels.clone());
        let losses = loss.forward(
            task,
            &StudentStates::new(student.unsqueeze()),
            &TeacherStates::new(teacher.clone().unsqueeze()),
        );
        assert!(losses.hidden.is_none() && losses.attention.is_none());
        let within = |part: Tensor<1>, name: &str| {
            let expected = case.floats(name);
            assert_within(&floats(part), &expected, |_| t * t * LOG_PROBABILITY, name);
        };
        within(losses.task, "ce");
        within(losses.logits.expect("is on"), "kl");
        losses.total
    });
    let bound = |_| t * t * LOG_PROBABILITY;
    assert_within(&[value], &case.floats("loss"), bound, "loss");
    assert_within(&gradient, &case.floats("grad_student"), bound, "gradient");
}

#[test]
fn without_the_factor_the_loss_is_smaller_by_the_temperature_squared() {
    let device = Device::default();
    let student = tensor(&logits(12, 1), [3, 4], DType::F32, &device);
    let teacher = tensor(&logits(12, 2), [3, 4], DType::F32, &device);
    // A power of two, so that the factor is exact.
    let config = LogitsDistillationLoss::new().with_temperature(4.0);
    let with = config.forward(student.clone(), teacher.clone());
    let config = config.with_scale_by_temperature_squared(false);
    let without = config.forward(student, teacher);
    assert_equal(&floats(without.mul_scalar(16.0)), &floats(with), "loss");
}

#[test]
fn padding_counts_neither_in_the_mean_nor_in_the_gradient() {
    let device = Device::default().autodiff();
    let (s, z) = (logits(20, 3), logits(20, 4));
    let mask = Tensor::<2, Bool>::from_data(
        TensorData::from([[false, true], [true, false]]),
        &device.clone().inner(),
    );
    let teacher = tensor::<3>(&z[..16], [2, 2, 4], DType::F32, &device);
    let loss = LogitsDistillationLoss::new();
    let (value, gradient) = value_and_gradient(
        tensor::<3>(&s[..16], [2, 2, 4], DType::F32, &device),
        |student| loss.forward_masked(student, teacher.clone(), mask.clone()),
    );
    let kept = |values: &[f32]| wide(&[&values[..4], &values[12..16]].concat());
    let expected = reference(&kept(&s), &kept(&z), 4, 1.0);
    assert_within(&[value], &[expected as f32], |_| LOG_PROBABILITY, "loss");
    assert_equal(&gradient[4..12], &[0.0; 8], "gradient of padding");
    assert!(gradient[..4].iter().all(|&g| g != 0.0));

    let all = Tensor::<2, Bool>::from_data(TensorData::from([[true, true], [true, true]]), &device);
    let student = tensor::<3>(&s[..16], [2, 2, 4], DType::F32, &device);
    let none = loss.forward_masked(student, teacher, all);
    assert_equal(&floats(none), &[0.0], "loss of padding alone");
}

#[test]
fn tokens_that_a_teacher_rules_out_add_nothing() {
    let device = Device::default().autodiff();
    // The last token is padding of the vocabulary, for the teacher and then for both.
    let (s, mut z) = (logits(5, 5), logits(5, 6));
    z[4] = f32::NEG_INFINITY;
    let teacher = || tensor::<2>(&z, [1, 5], DType::F32, &device);
    let loss = LogitsDistillationLoss::new();
    let (value, gradient) =
        value_and_gradient(tensor::<2>(&s, [1, 5], DType::F32, &device), |student| {
            loss.forward(student, teacher())
        });
    let expected = kl(&wide(&z), &wide(&s));
    assert_within(&[value], &[expected as f32], |_| LOG_PROBABILITY, "loss");
    assert!(gradient.iter().all(|g| g.is_finite()));

    let s = [&s[..4], &[f32::NEG_INFINITY]].concat();
    let (value, gradient) =
        value_and_gradient(tensor::<2>(&s, [1, 5], DType::F32, &device), |student| {
            loss.forward(student, teacher())
        });
    let expected = kl(&wide(&z[..4]), &wide(&s[..4]));
    assert_within(&[value], &[expected as f32], |_| LOG_PROBABILITY, "loss");
    assert_equal(&gradient[4..], &[0.0], "gradient of the token");
}

#[test]
fn no_gradient_reaches_the_teacher() {
    let device = Device::default().autodiff();
    let student = tensor::<2>(&logits(6, 7), [2, 3], DType::F32, &device).require_grad();
    let teacher = tensor::<2>(&logits(6, 8), [2, 3], DType::F32, &device).require_grad();
    let loss = LogitsDistillationLoss::new();
    let grads = loss.forward(student.clone(), teacher.clone()).backward();
    assert!(student.grad(&grads).is_some());
    assert!(teacher.grad(&grads).is_none());
}

#[test]
fn halves_are_compared_in_full_precision() {
    let device = Device::default();
    if !device.supports_dtype(DType::F16) {
        return;
    }
    let (s, z) = (logits(8, 9), logits(8, 10));
    let half = |values: &[f32]| tensor::<2>(values, [2, 4], DType::F16, &device);
    let loss = LogitsDistillationLoss::new();
    let value = loss.forward(half(&s), half(&z));
    let exact = |values: &[f32]| wide(&rounded(values, DType::F16));
    let expected = reference(&exact(&s), &exact(&z), 4, 1.0);
    assert_within(
        &floats(value),
        &[expected as f32],
        |_| LOG_PROBABILITY,
        "loss",
    );
}

/// Returns the divergence over the `k` tokens and "any other", times `T^2`.
fn top_k_reference(student: &[f64], teacher: &[f64], vocab: usize, k: usize, t: f64) -> f64 {
    let rows = student.chunks(vocab).zip(teacher.chunks(vocab));
    let row = |(s, z): (&[f64], &[f64])| {
        let mut order: Vec<usize> = (0..vocab).collect();
        order.sort_by(|&a, &b| z[b].total_cmp(&z[a]));
        let events = |logits: &[f64]| {
            let p = softmax(&logits.iter().map(|z| z / t).collect::<Vec<_>>());
            let mut events: Vec<f64> = order[..k].iter().map(|&i| p[i]).collect();
            events.push(order[k..].iter().map(|&i| p[i]).sum());
            events
        };
        let terms = events(z).into_iter().zip(events(s));
        terms
            .map(|(p, q)| if p == 0.0 { 0.0 } else { p * (p / q).ln() })
            .sum::<f64>()
    };
    t * t * rows.map(row).sum::<f64>() * vocab as f64 / student.len() as f64
}

#[test]
fn top_k_divergence_is_that_of_the_k_tokens_and_the_rest() {
    let device = Device::default().autodiff();
    let (vocab, t) = (9, 2.0);
    let (s, z) = (logits(4 * vocab, 11), logits(4 * vocab, 12));
    let teacher = tensor::<3>(&z, [2, 2, vocab], DType::F32, &device);
    let loss = LogitsDistillationLoss::new().with_temperature(t);
    let full = reference(&wide(&s), &wide(&z), vocab, t);
    for k in [1, 4, 8, 9] {
        let top = TopKLogits::from_logits(teacher.clone(), k, t);
        let student = tensor::<3>(&s, [2, 2, vocab], DType::F32, &device);
        let (value, gradient) = value_and_gradient(student, |student| {
            loss.forward_top_k_no_reduction(student, top.clone()).mean()
        });
        let what = format!("k = {k}");
        let reference = |s: &[f64]| top_k_reference(s, &wide(&z), vocab, k, t);
        let expected = reference(&wide(&s));
        let bound = |_: usize| t * t * LOG_PROBABILITY;
        assert_within(&[value], &[expected as f32], bound, &what);
        assert_within(&gradient, &differences(&wide(&s), reference), bound, &what);
        // A coarser partition of two distributions never increases their divergence.
        assert!(value as f64 <= full + bound(0), "{what}");
        assert!(
            k < vocab || (value as f64 - full).abs() <= bound(0),
            "{what}"
        );
    }
}

#[test]
fn top_k_of_a_teacher_that_rules_out_the_rest_is_its_whole_divergence() {
    let device = Device::default();
    let (s, mut z) = (logits(5, 13), logits(5, 14));
    z[1] = f32::NEG_INFINITY;
    z[3] = f32::NEG_INFINITY;
    let teacher = tensor::<3>(&z, [1, 1, 5], DType::F32, &device);
    let student = tensor::<3>(&s, [1, 1, 5], DType::F32, &device);
    let loss = LogitsDistillationLoss::new();
    let top = TopKLogits::from_logits(teacher, 3, 1.0);
    let mut tokens: Vec<i64> = ints(top.indices.clone());
    tokens.sort_unstable();
    assert_equal(&tokens, &[0, 2, 4], "tokens");
    let value = loss.forward_top_k_no_reduction(student, top);
    let expected = kl(&wide(&z), &wide(&s)) as f32;
    assert_within(&floats(value), &[expected], |_| LOG_PROBABILITY, "loss");
}

#[test]
#[should_panic(expected = "top-k logits were cut at temperature 1, the loss has 2")]
fn top_k_of_another_temperature_is_refused() {
    let device = Device::default();
    let logits = Tensor::<3>::zeros([1, 1, 4], &device);
    let top = TopKLogits::from_logits(logits.clone(), 2, 1.0);
    let loss = LogitsDistillationLoss::new().with_temperature(2.0);
    loss.forward_top_k_no_reduction(logits, top);
}

#[test]
#[should_panic(expected = "logits of student and teacher must have the same shape")]
fn another_vocabulary_is_refused() {
    let device = Device::default();
    let loss = LogitsDistillationLoss::new();
    loss.forward(
        Tensor::<2>::zeros([1, 4], &device),
        Tensor::zeros([1, 5], &device),
    );
}
