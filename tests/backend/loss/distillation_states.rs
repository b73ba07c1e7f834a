//! Distances of hidden states and attention relations, and the sum of all parts, against scalar
//! code in `f64`.

use bitnet_burn::loss::{
    AttentionRelationLoss, AttentionStates, DistillationLossConfig, HiddenDistance,
    HiddenDistillationLossConfig, LogitsDistillationLoss, StudentStates, TeacherStates,
};
use burn::{
    module::Module,
    tensor::{Bool, DType, Device, Tensor, TensorData},
};

use super::distillation::{differences, kl, value_and_gradient, wide};
use crate::support::values::*;

/// Error bound. Products and squares of up to 6 values are summed, and at most 12 such sums again: with
/// divisions, roots and exponentials, 64 roundings on either side are more than all of them. The numbers
/// are up to 1, or as a test states. Central differences add 1e-9.
const BOUND: f64 = 2.0 * 64.0 * ROUNDING + 1e-9;

/// Returns values with a spread of about 1.
fn states(n: usize, seed: u64) -> Vec<f32> {
    normal(n, seed).into_iter().map(|v| 10.0 * v).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unit(x: &[f64]) -> Vec<f64> {
    let norm = dot(x, x).sqrt().max(1e-12);
    x.iter().map(|x| x / norm).collect()
}

/// Multiplies rows of `x` with a matrix `[d_in, d_out]`.
fn projected(x: &[f64], weight: &[f64], d_in: usize, d_out: usize) -> Vec<f64> {
    let product = |row: &[f64], o: usize| (0..d_in).map(|i| row[i] * weight[i * d_out + o]).sum();
    x.chunks(d_in)
        .flat_map(|row| (0..d_out).map(move |o| product(row, o)))
        .collect()
}

fn hidden_reference(x: &[f64], teacher: &[f64], width: usize, distance: HiddenDistance) -> f64 {
    let rows = x.chunks(width).zip(teacher.chunks(width));
    let n = (x.len() / width) as f64;
    let distance = |(a, b): (&[f64], &[f64])| match distance {
        HiddenDistance::Mse => {
            let difference: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
            dot(&difference, &difference) / width as f64
        }
        _ => 1.0 - dot(&unit(a), &unit(b)),
    };
    rows.map(distance).sum::<f64>() / n
}

#[test]
fn hidden_distances_and_gradients_are_those_of_the_formula() {
    let device = Device::default().autodiff();
    let (s, t) = (states(24, 1), states(24, 2));
    for distance in [HiddenDistance::Mse, HiddenDistance::Cosine] {
        let config = HiddenDistillationLossConfig::new(6, 6).with_distance(distance);
        let loss = config.init(&device);
        let teacher = tensor::<3>(&t, [2, 2, 6], DType::F32, &device);
        let student = tensor::<3>(&s, [2, 2, 6], DType::F32, &device);
        let (value, gradient) =
            value_and_gradient(student, |student| loss.forward(student, teacher.clone()));
        let reference = |s: &[f64]| hidden_reference(s, &wide(&t), 6, distance);
        let what = format!("{distance:?}");
        // Means of squares are up to 8.
        let bound = |_: usize| 8.0 * BOUND;
        assert_within(&[value], &[reference(&wide(&s)) as f32], bound, &what);
        assert_within(&gradient, &differences(&wide(&s), reference), bound, &what);
    }
}

#[test]
fn a_projection_bridges_widths_and_learns() {
    let device = Device::default().autodiff();
    let (d_student, d_teacher) = (3, 5);
    let (s, t) = (states(4 * d_student, 3), states(4 * d_teacher, 4));
    let config = HiddenDistillationLossConfig::new(d_student, d_teacher).with_projection(true);
    let loss = config.init(&device);
    let weight = &loss.projection.as_ref().unwrap().weight;
    let w = wide(&floats(weight.val()));
    let teacher = tensor::<3>(&t, [1, 4, d_teacher], DType::F32, &device);
    let student = tensor::<3>(&s, [1, 4, d_student], DType::F32, &device);
    let value = loss.forward(student, teacher);
    let grads = value.backward();
    let gradient = floats(weight.val().grad(&grads).expect("the projection learns"));
    let reference = |w: &[f64]| {
        let states = projected(&wide(&s), w, d_student, d_teacher);
        hidden_reference(&states, &wide(&t), d_teacher, HiddenDistance::Mse)
    };
    let bound = |_: usize| 8.0 * BOUND;
    assert_within(&floats(value), &[reference(&w) as f32], bound, "loss");
    assert_within(&gradient, &differences(&w, reference), bound, "gradient");
}

#[test]
fn padding_does_not_count_in_the_hidden_distance() {
    let device = Device::default();
    let (s, t) = (states(12, 5), states(12, 6));
    let loss = HiddenDistillationLossConfig::new(4, 4).init(&device);
    let mask = Tensor::<2, Bool>::from_data(TensorData::from([[false, true, false]]), &device);
    let value = loss.forward_masked(
        tensor::<3>(&s, [1, 3, 4], DType::F32, &device),
        tensor::<3>(&t, [1, 3, 4], DType::F32, &device),
        mask,
    );
    let kept = |x: &[f32]| wide(&[&x[..4], &x[8..]].concat());
    let expected = hidden_reference(&kept(&s), &kept(&t), 4, HiddenDistance::Mse) as f32;
    assert_within(&floats(value), &[expected], |_| 8.0 * BOUND, "loss");
}

#[test]
fn a_state_of_zero_has_a_finite_gradient() {
    let device = Device::default().autodiff();
    let config = HiddenDistillationLossConfig::new(3, 3).with_distance(HiddenDistance::Cosine);
    let loss = config.init(&device);
    let teacher = tensor::<2>(&states(3, 7), [1, 3], DType::F32, &device);
    let (value, gradient) = value_and_gradient(Tensor::<2>::zeros([1, 3], &device), |student| {
        loss.forward(student, teacher.clone())
    });
    assert_eq!(value, 1.0);
    assert!(gradient.iter().all(|g| g.is_finite()), "{gradient:?}");
}

#[test]
#[should_panic(expected = "states of width 3 and 5 need a projection")]
fn widths_that_differ_need_a_projection() {
    HiddenDistillationLossConfig::new(3, 5).init(&Device::default());
}

/// Returns row `position` of head `head` of states `[batch, positions, width]`.
fn head(states: &[f64], width: usize, heads: usize, row: usize, head: usize) -> &[f64] {
    let d_head = width / heads;
    &states[row * width + head * d_head..][..d_head]
}

/// Returns the divergence of relations for one kind of states, over the positions that count.
fn relation_reference(
    [student, teacher]: [&[f64]; 2],
    [d_student, d_teacher]: [usize; 2],
    [positions, heads]: [usize; 2],
    temperature: f64,
    counts: impl Fn(usize) -> bool,
) -> f64 {
    let rows = student.len() / d_student;
    let relations = |states: &[f64], width: usize, row: usize, h: usize| -> Vec<f64> {
        let first = row / positions * positions;
        let row = unit(head(states, width, heads, row, h));
        let others = (first..first + positions).filter(|&other| counts(other));
        others
            .map(|other| dot(&row, &unit(head(states, width, heads, other, h))) / temperature)
            .collect()
    };
    let (mut sum, mut count) = (0.0, 0.0);
    for row in (0..rows).filter(|&row| counts(row)) {
        for h in 0..heads {
            sum += kl(
                &relations(teacher, d_teacher, row, h),
                &relations(student, d_student, row, h),
            );
            count += 1.0;
        }
    }
    sum / count
}

#[test]
fn attention_relations_and_gradients_are_those_of_algorithm_1() {
    let device = Device::default().autodiff();
    // A student of width 4 and a teacher of width 6, keys and values of the student narrower.
    let (batch, positions, heads, temperature) = (2, 3, 2, 0.5);
    let n = batch * positions;
    let parts = [(4, 6), (2, 6), (2, 6)];
    let draw = |width: usize, seed: u64| states(n * width, seed);
    let s: Vec<_> = (0..)
        .zip(parts)
        .map(|(i, (d, _))| draw(d, 20 + i))
        .collect();
    let t: Vec<_> = (0..)
        .zip(parts)
        .map(|(i, (_, d))| draw(d, 30 + i))
        .collect();
    let on_device = |values: &[f32]| {
        let width = values.len() / n;
        tensor::<3>(values, [batch, positions, width], DType::F32, &device)
    };
    let teacher = AttentionStates {
        query: on_device(&t[0]),
        key: on_device(&t[1]),
        value: on_device(&t[2]),
    };
    let loss = AttentionRelationLoss::new(heads).with_temperature(temperature);
    let mask = TensorData::from([[false, false, true], [false, false, false]]);
    let mask = Tensor::<2, Bool>::from_data(mask, &device);

    for masked in [false, true] {
        let student: Vec<_> = s.iter().map(|s| on_device(s).require_grad()).collect();
        let states = AttentionStates {
            query: student[0].clone(),
            key: student[1].clone(),
            value: student[2].clone(),
        };
        let value = loss.forward(&states, &teacher, masked.then(|| mask.clone()));
        let grads = value.backward();
        let reference = |i: usize, s: &[f64]| {
            let counts = |row: usize| !masked || row != 2;
            let (d_student, d_teacher) = parts[i];
            let widths = [d_student, d_teacher];
            relation_reference(
                [s, &wide(&t[i])],
                widths,
                [positions, heads],
                temperature,
                counts,
            )
        };
        let expected: f64 = (0..3).map(|i| reference(i, &wide(&s[i]))).sum();
        // Three parts of relations up to 1 / 0.5.
        let bound = |_: usize| 3.0 * 2.0 * BOUND;
        let what = format!("masked: {masked}");
        assert_within(&floats(value), &[expected as f32], bound, &what);
        for i in 0..3 {
            // A state shorter than 1 has a gradient longer by the inverse of its length; the
            // shortest here is above a sixteenth.
            let gradient = floats(student[i].grad(&grads).unwrap());
            let expected = differences(&wide(&s[i]), |s| reference(i, s));
            assert_within(&gradient, &expected, |_| 16.0 * bound(0), &what);
        }
    }
}

#[test]
fn relations_depend_on_neither_the_scale_of_states_nor_how_they_come() {
    let device = Device::default();
    let draw = |seed| tensor::<4>(&states(24, seed), [1, 2, 3, 4], DType::F32, &device);
    let (q, k, v) = (draw(40), draw(41), draw(42));
    let teacher = AttentionStates::from_heads(draw(43), draw(44), draw(45));
    let loss = AttentionRelationLoss::new(2);
    let states = AttentionStates::from_heads(q.clone(), k.clone(), v.clone());
    let value = floats(loss.forward(&states, &teacher, None));
    // Powers of two, which change no rounding.
    let larger = AttentionStates::from_heads(q.mul_scalar(4.0), k.mul_scalar(0.5), v);
    assert_equal(
        &floats(loss.forward(&larger, &teacher, None)),
        &value,
        "scaled",
    );
    let itself = floats(loss.forward(&teacher, &teacher, None));
    assert_equal(&itself, &[0.0], "teacher against itself");
}

#[test]
fn the_total_is_the_weighted_sum_and_parts_that_are_off_read_nothing() {
    let device = Device::default();
    let draw = |width: usize, seed| {
        tensor::<3>(&states(6 * width, seed), [2, 3, width], DType::F32, &device)
    };
    let attention = |seed| AttentionStates {
        query: draw(4, seed),
        key: draw(4, seed + 1),
        value: draw(4, seed + 2),
    };
    let student = StudentStates {
        hidden: Some(draw(4, 50)),
        attention: Some(attention(51)),
        ..StudentStates::new(draw(5, 54))
    };
    let teacher = TeacherStates {
        hidden: Some(draw(4, 60)),
        attention: Some(attention(61)),
        ..TeacherStates::new(draw(5, 64))
    };
    let all = DistillationLossConfig::new()
        .with_task_weight(0.5)
        .with_logits_weight(2.0)
        .with_logits(Some(LogitsDistillationLoss::new().with_temperature(2.0)))
        .with_hidden_weight(3.0)
        .with_hidden(Some(HiddenDistillationLossConfig::new(4, 4)))
        .with_attention_weight(100.0)
        .with_attention(Some(AttentionRelationLoss::new(2)));
    let task = Tensor::<1>::from_floats([1.5], &device);
    let losses = all.init(&device).forward(task.clone(), &student, &teacher);
    let part = |part: Option<Tensor<1>>| floats(part.expect("is on"))[0] as f64;
    let expected = 0.5 * 1.5
        + 2.0 * part(losses.logits)
        + 3.0 * part(losses.hidden)
        + 100.0 * part(losses.attention);
    let bound = |_: usize| 8.0 * ROUNDING * expected;
    assert_within(&floats(losses.total), &[expected as f32], bound, "total");

    // A weight of 0 disables a part, whatever its configuration.
    let few = all.with_hidden_weight(0.0).with_attention_weight(0.0);
    let few = few.with_logits_weight(0.0).init(&device);
    let nothing = TeacherStates::default();
    let losses = few.forward(task, &StudentStates::new(draw(5, 54)), &nothing);
    assert_equal(&floats(losses.total), &[0.75], "total");
    assert!(losses.logits.is_none() && losses.hidden.is_none() && losses.attention.is_none());
}

#[test]
fn only_the_projection_is_a_parameter() {
    let device = Device::default();
    let config = DistillationLossConfig::new()
        .with_hidden(Some(
            HiddenDistillationLossConfig::new(4, 6).with_projection(true),
        ))
        .with_attention(Some(AttentionRelationLoss::new(2)));
    assert_eq!(config.init(&device).num_params(), 24);
}

#[test]
#[should_panic(expected = "configured to read the teacher's hidden states")]
fn states_that_a_part_needs_must_be_there() {
    let device = Device::default();
    let config = DistillationLossConfig::new().with_logits(None);
    let hidden = HiddenDistillationLossConfig::new(4, 4);
    let loss = config.with_hidden(Some(hidden)).init(&device);
    let student = StudentStates {
        hidden: Some(Tensor::zeros([1, 1, 4], &device)),
        ..StudentStates::new(Tensor::zeros([1, 1, 5], &device))
    };
    loss.forward(
        Tensor::zeros([1], &device),
        &student,
        &TeacherStates::default(),
    );
}

#[test]
#[should_panic(expected = "all parts of the distillation loss are off")]
fn a_loss_without_parts_is_refused() {
    let config = DistillationLossConfig::new().with_logits(None);
    config.with_task_weight(0.0).init(&Device::default());
}
