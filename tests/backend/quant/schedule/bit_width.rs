use bitnet_burn::quant::{BitWidth, schedule::BitWidthSchedule};

#[test]
fn the_width_is_that_of_the_last_stage_that_started() {
    let stages = [
        (0, BitWidth::Bits(8)),
        (10, BitWidth::Bits(4)),
        (11, BitWidth::Bits(2)),
        (50, BitWidth::Ternary),
    ];
    let schedule = BitWidthSchedule::new(stages).unwrap();
    for step in 0..100 {
        // By the definition, over all stages.
        let mut started = stages.iter().filter(|(from, _)| *from <= step);
        assert_eq!(schedule.value(step), started.next_back().unwrap().1);
    }
    assert_eq!(schedule.value(usize::MAX), BitWidth::Ternary);
}

#[test]
fn json_is_the_list_of_stages() {
    let schedule = BitWidthSchedule::new([(0, BitWidth::Bits(8)), (5, BitWidth::Ternary)]).unwrap();
    let json = serde_json::to_value(&schedule).unwrap();
    let expected = serde_json::json!([
        {"from_step": 0, "width": {"bits": 8}},
        {"from_step": 5, "width": "ternary"},
    ]);
    assert_eq!(json, expected);
    let read: BitWidthSchedule = serde_json::from_value(json).unwrap();
    assert_eq!(read, schedule);
}

#[test]
fn what_cannot_be_is_refused_when_read() {
    for (json, message) in [
        ("[]", "at least one stage, got 0"),
        (
            r#"[{"from_step": 1, "width": "ternary"}]"#,
            "at step 0, got 1",
        ),
        (
            r#"[{"from_step": 0, "width": "ternary"}, {"from_step": 7, "width": {"bits": 4}},
                {"from_step": 7, "width": {"bits": 2}}]"#,
            "stage 2 starts at step 7 and the one before at 7",
        ),
        (
            r#"[{"from_step": 0, "width": {"bits": 1}}]"#,
            "bits must be 2 to 8, got 1",
        ),
        (
            r#"[{"from_step": 0, "width": {"bits": 9}}]"#,
            "bits must be 2 to 8, got 9",
        ),
        (
            r#"[{"from_step": 0, "width": "float"}]"#,
            "unknown variant `float`",
        ),
        (
            r#"[{"step": 0, "width": "ternary"}]"#,
            "unknown field `step`",
        ),
    ] {
        let error = serde_json::from_str::<BitWidthSchedule>(json).unwrap_err();
        assert!(error.to_string().contains(message), "{json}: {error}");
    }
}
