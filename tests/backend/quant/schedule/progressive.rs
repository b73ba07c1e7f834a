use bitnet_burn::quant::schedule::{ProgressiveSchedule, ProgressiveShape};
use rand::{RngExt, SeedableRng, rngs::StdRng};

fn schedule(shape: ProgressiveShape, start: usize, end: usize) -> ProgressiveSchedule {
    ProgressiveSchedule::new(shape, start, end).unwrap()
}

#[test]
fn the_default_is_the_warm_up_of_a_thousand_steps() {
    let lambda = ProgressiveSchedule::default();
    for step in 0..2000 {
        assert_eq!(lambda.value(step), (step as f64 / 1000.0).min(1.0));
    }
}

#[test]
fn the_shapes_are_their_closed_forms() {
    type Closed = fn(f64) -> f64;
    fn sigmoid(k: f64, t: f64) -> f64 {
        1.0 / (1.0 + (-k * (t - 0.5)).exp())
    }
    fn normalized(k: f64, t: f64) -> f64 {
        (sigmoid(k, t) - sigmoid(k, 0.0)) / (sigmoid(k, 1.0) - sigmoid(k, 0.0))
    }
    let cases: [(ProgressiveShape, Closed); 7] = [
        (ProgressiveShape::Linear, |t| t),
        (ProgressiveShape::Cosine, |t| {
            (1.0 - (core::f64::consts::PI * t).cos()) / 2.0
        }),
        (ProgressiveShape::Exponential { k: 4.0 }, |t| {
            1.0 - (1.0 - t) * (1.0 - t) * (1.0 - t) * (1.0 - t)
        }),
        (ProgressiveShape::Exponential { k: 0.5 }, |t| {
            1.0 - (1.0 - t).sqrt()
        }),
        (ProgressiveShape::Sigmoid { k: 15.0 }, |t| {
            normalized(15.0, t)
        }),
        (ProgressiveShape::Sigmoid { k: 100.0 }, |t| {
            normalized(100.0, t)
        }),
        (ProgressiveShape::Stairs { count: 4 }, |t| {
            (4.0 * t).floor() / 4.0
        }),
    ];
    for (shape, closed) in cases {
        let lambda = schedule(shape.clone(), 50, 306);
        for step in 50..=306 {
            let t = (step - 50) as f64 / 256.0;
            let error = (lambda.value(step) - closed(t)).abs();
            // A few roundings of numbers up to 1.
            assert!(error < 1e-14, "{shape:?} at {t}: {error:e}");
        }
    }
}

#[test]
fn the_sigmoid_is_that_of_the_blog_but_for_its_ends() {
    for k in [15.0, 20.0, 25.0, 40.0, 100.0f64] {
        let lambda = schedule(ProgressiveShape::Sigmoid { k }, 0, 1000);
        let end = 1.0 / (1.0 + (k / 2.0).exp());
        for step in 0..=1000 {
            let blog = 1.0 / (1.0 + (-k * (step as f64 / 1000.0 - 0.5)).exp());
            let error = (lambda.value(step) - blog).abs();
            assert!(error <= end + 1e-14 && error < 6e-4, "k {k}, step {step}");
        }
    }
}

#[test]
fn stairs_are_climbed_at_the_step_even_where_floats_are_short_of_it() {
    let lambda = schedule(ProgressiveShape::Stairs { count: 100 }, 0, 100);
    for step in 0..=100 {
        assert_eq!(lambda.value(step), step as f64 / 100.0);
    }
    let jump = schedule(ProgressiveShape::Stairs { count: 1 }, 0, 10);
    assert_eq!((jump.value(9), jump.value(10)), (0.0, 1.0));
}

#[test]
fn explicit_boundaries_are_climbed_where_they_are_written() {
    let shape = ProgressiveShape::Boundaries {
        at: vec![0.1, 0.3, 0.7],
    };
    let lambda = schedule(shape, 1000, 2000);
    let values = [1099, 1100, 1299, 1300, 1699, 1700, 1999, 2000].map(|s| lambda.value(s));
    assert_eq!(values, [0.0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1.0]);
    let none = schedule(ProgressiveShape::Boundaries { at: vec![] }, 0, 10);
    assert_eq!((none.value(9), none.value(10)), (0.0, 1.0));
}

#[test]
fn a_schedule_without_length_jumps() {
    for shape in [
        ProgressiveShape::Cosine,
        ProgressiveShape::Sigmoid { k: 15.0 },
    ] {
        let jump = schedule(shape, 7, 7).with_initial(0.25).unwrap();
        assert_eq!([6, 7, 8].map(|step| jump.value(step)), [0.25, 1.0, 1.0]);
    }
    assert_eq!(schedule(ProgressiveShape::Linear, 0, 0).value(0), 1.0);
}

fn random_shape(rng: &mut StdRng) -> ProgressiveShape {
    // Evenly over the orders of magnitude.
    let k = 10f64.powf(rng.random_range(-3.0..3.0));
    match rng.random_range(0..6) {
        0 => ProgressiveShape::Linear,
        1 => ProgressiveShape::Cosine,
        2 => ProgressiveShape::Exponential { k },
        3 => ProgressiveShape::Sigmoid { k },
        4 => ProgressiveShape::Stairs {
            count: rng.random_range(1..2000),
        },
        _ => {
            let mut at: Vec<f64> = (0..rng.random_range(0..9)).map(|_| rng.random()).collect();
            at.sort_by(f64::total_cmp);
            at.retain(|&at| at > 0.0);
            at.dedup();
            ProgressiveShape::Boundaries { at }
        }
    }
}

#[test]
fn any_schedule_rises_from_its_initial_value_to_one() {
    let mut rng = StdRng::seed_from_u64(1);
    for _ in 0..300 {
        let start = rng.random_range(0..100);
        let end = start + rng.random_range(0..400);
        let initial = [0.0, rng.random(), 1.0][rng.random_range(0..3)];
        let lambda = schedule(random_shape(&mut rng), start, end)
            .with_initial(initial)
            .unwrap();
        let mut previous = initial;
        for step in 0..end + 10 {
            let value = lambda.value(step);
            assert!(
                (previous..=1.0).contains(&value),
                "{lambda:?}: {value} at {step} after {previous}"
            );
            if step <= start && start < end {
                assert_eq!(value, initial);
            }
            previous = value;
        }
        assert_eq!(lambda.value(end), 1.0);
        assert_eq!(lambda.value(usize::MAX), 1.0);
    }
}

#[test]
fn the_longest_schedule_stays_in_range() {
    let mut rng = StdRng::seed_from_u64(2);
    for _ in 0..200 {
        let lambda = schedule(random_shape(&mut rng), 0, usize::MAX);
        for step in [
            0,
            1,
            usize::MAX / 2,
            usize::MAX - 1,
            rng.random::<u64>() as usize,
        ] {
            assert!((0.0..=1.0).contains(&lambda.value(step)), "{lambda:?}");
        }
    }
}

#[test]
fn json_round_trips_and_says_each_choice_by_name() {
    let lambda = schedule(ProgressiveShape::Sigmoid { k: 40.0 }, 10, 500)
        .with_initial(0.1)
        .unwrap();
    let json = serde_json::to_value(&lambda).unwrap();
    let expected = serde_json::json!(
        {"shape": {"sigmoid": {"k": 40.0}}, "start": 10, "end": 500, "initial": 0.1}
    );
    assert_eq!(json, expected);
    assert_eq!(
        serde_json::from_value::<ProgressiveSchedule>(json).unwrap(),
        lambda
    );
    assert_eq!(
        serde_json::from_str::<ProgressiveSchedule>("{}").unwrap(),
        ProgressiveSchedule::default()
    );
}

#[test]
fn what_cannot_be_is_refused_when_read() {
    for (json, message) in [
        (r#"{"start": 5, "end": 4}"#, "from 5 to 4 ends before"),
        (r#"{"start": 2000}"#, "from 2000 to 1000 ends before"),
        (r#"{"initial": 1.5}"#, "must be in [0, 1], got 1.5"),
        (
            r#"{"shape": {"sigmoid": {"k": 0.0}}}"#,
            "[0.001, 1000], got 0",
        ),
        (r#"{"shape": {"exponential": {"k": -1.0}}}"#, "got -1"),
        (
            r#"{"shape": {"stairs": {"count": 0}}}"#,
            "the number of stairs must be 1 or more, got 0",
        ),
        (
            r#"{"shape": {"boundaries": {"at": [0.5, 0.5]}}}"#,
            "boundary 1 is 0.5",
        ),
        (
            r#"{"shape": {"boundaries": {"at": [1.0]}}}"#,
            "boundary 0 is 1",
        ),
        (r#"{"shape": "square"}"#, "unknown variant `square`"),
        (r#"{"begin": 1}"#, "unknown field `begin`"),
    ] {
        let error = serde_json::from_str::<ProgressiveSchedule>(json).unwrap_err();
        assert!(error.to_string().contains(message), "{json}: {error}");
    }
    let nan = ProgressiveSchedule::default().with_initial(f64::NAN);
    let expected = "the initial value must be in [0, 1], got NaN";
    assert_eq!(nan.unwrap_err().to_string(), expected);
}
