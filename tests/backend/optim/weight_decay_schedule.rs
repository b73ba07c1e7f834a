//! Schedules of weight decay.

use bitnet_burn::optim::WeightDecaySchedule;

#[track_caller]
fn check(schedule: WeightDecaySchedule, expected: &[(usize, f32)]) {
    for &(step, value) in expected {
        let at = schedule.at(step);
        assert!((at - value).abs() <= 1e-8, "{schedule:?} at {step}: {at}");
    }
}

#[test]
fn the_recipe_of_bitnet_switches_decay_off_at_the_midpoint() {
    let schedule = WeightDecaySchedule::until_midpoint(0.1, 1001);
    check(schedule, &[(0, 0.1), (499, 0.1), (500, 0.0), (2000, 0.0)]);
}

#[test]
fn the_recipe_of_2b4t_rises_to_the_midpoint() {
    let schedule = WeightDecaySchedule::rise_until_midpoint(0.1, 400);
    check(schedule, &[(0, 0.0), (100, 0.05), (200, 0.0), (400, 0.0)]);
    assert!(schedule.at(199) > 0.0999);
}

#[test]
fn lines_and_cosines_meet_their_ends() {
    let (start, end, steps) = (0.2, 0.1, 100);
    let linear = WeightDecaySchedule::Linear { start, end, steps };
    check(linear, &[(0, 0.2), (25, 0.175), (100, 0.1), (101, 0.1)]);
    let cosine = WeightDecaySchedule::Cosine { start, end, steps };
    check(cosine, &[(0, 0.2), (50, 0.15), (100, 0.1), (101, 0.1)]);
    check(WeightDecaySchedule::Constant { value: 0.3 }, &[(7, 0.3)]);
}

#[test]
fn a_schedule_of_no_steps_is_at_its_end() {
    let linear = WeightDecaySchedule::Linear {
        start: 0.2,
        end: 0.1,
        steps: 0,
    };
    check(linear, &[(0, 0.1)]);
}
