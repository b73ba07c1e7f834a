//! Sensitivities.

use std::fs;

use crate::program::{run, text, trained};

#[test]
fn sensitivities_are_of_every_layer() {
    let (folder, model) = trained();
    let html = folder.path().join("page.html");
    let arguments = [
        "sensitivity",
        text(&model),
        "--windows",
        "2",
        "--bits",
        "4",
        "--plan-bits",
        "3",
        "--html",
        text(&html),
        "--json",
    ];
    let json = run(&arguments).succeeded().json();
    assert_eq!(json["sensitivity"]["layers"].as_array().unwrap().len(), 7);
    assert!(fs::read_to_string(html).unwrap().contains("down_proj"));
}
