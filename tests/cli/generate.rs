//! Generation.

use std::fs;

use crate::program::{run, text, trained};

#[test]
fn unsupported_generation_settings_are_refused() {
    let (_folder, model) = trained();
    let generate = || run(&["generate", text(&model), "-p", "To be", "-n", "2"]);
    let settings = model.join("generation_config.json");
    fs::write(&settings, "{\"suppress_tokens\": [1]}").unwrap();
    generate().failed(1, &["generation_config.json", "`suppress_tokens`", "[1]"]);
    fs::write(&settings, "{\"temprature\": 0.5, \"top_p\": 0.9}").unwrap();
    let ran = generate().succeeded();
    assert!(
        ran.stderr
            .contains("ignored unknown keys: generation_config.json: temprature = 0.5\n"),
        "{}",
        ran.stderr
    );
}
