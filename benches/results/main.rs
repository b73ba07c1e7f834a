//! All numbers of `RESULTS.md`: `cargo bench --bench results`, optionally with names of sections
//! after `--`. `BURN_DEVICE` selects the device; `--quick` takes few samples, as a smoke test.
//!
//! Compared functions are sampled in turn, so that drift of the machine favors none of them.
//! Measurements of memory or thread counts run in a process of their own.

mod adapters;
mod alternate;
mod bit_linear;
mod chart;
mod date;
mod decode;
mod integer_product;
mod language_model;
mod machine;
mod operations;
mod peak;
mod peers;
mod results_file;
mod scaling;
mod stepping;
mod table;
mod training;
mod variant;

use std::{
    path::Path,
    process::{Command, exit},
};

use table::Table;

#[global_allocator]
static ALLOCATOR: peak::Counting = peak::Counting;

/// Section of the file: name, description and measurement.
struct Section {
    name: &'static str,
    about: &'static str,
    run: fn(quick: bool) -> Table,
}

const SECTIONS: [Section; 7] = [
    Section {
        name: "operations",
        about: operations::ABOUT,
        run: operations::run,
    },
    Section {
        name: "bit_linear",
        about: bit_linear::ABOUT,
        run: bit_linear::run,
    },
    Section {
        name: "integer_product",
        about: integer_product::ABOUT,
        run: integer_product::run,
    },
    Section {
        name: "language_model",
        about: language_model::ABOUT,
        run: language_model::run,
    },
    Section {
        name: "adapters",
        about: adapters::ABOUT,
        run: adapters::run,
    },
    Section {
        name: "decode",
        about: decode::ABOUT,
        run: decode::run,
    },
    Section {
        name: "scaling",
        about: scaling::ABOUT,
        run: scaling::run,
    },
];

fn main() {
    peak::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        // Subprocesses.
        ["variant", name, model] => variant::take_turns(name, model),
        ["adapter", name] => adapters::take_turns(name),
        ["threads"] => println!("{}", scaling::measure_threads()),
        _ => measure(&arguments),
    }
}

/// Measures the sections named by the arguments, or all.
fn measure(arguments: &[&str]) {
    // Cargo itself passes `--bench`.
    let names: Vec<&str> = (arguments.iter().copied())
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    let quick = arguments.contains(&"--quick");
    if let Some(unknown) = names
        .iter()
        .find(|&&n| SECTIONS.iter().all(|s| s.name != n))
    {
        fail(&format!("no section {unknown}"));
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches");
    for section in &SECTIONS {
        if !names.is_empty() && !names.contains(&section.name) {
            continue;
        }
        eprintln!("{}", section.name);
        let table = (section.run)(quick);
        println!("\n## {}\n\n{table}", section.name);
        // Results of a smoke test are not written.
        if !quick {
            let written = results_file::write(&folder, section.name, section.about, &table);
            written.unwrap_or_else(|error| fail(&format!("{}: {error}", folder.display())));
        }
    }
}

fn fail(message: &str) -> ! {
    eprintln!("results: {message}");
    exit(1)
}

/// Runs this program with other arguments and environment, and returns its last line.
fn in_own_process(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().unwrap_or_else(|e| fail(&e.to_string()));
    let output = Command::new(program)
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .unwrap_or_else(|e| fail(&e.to_string()));
    let text = String::from_utf8_lossy(&output.stdout);
    match text.lines().last() {
        Some(line) if output.status.success() => line.to_string(),
        _ => fail(&String::from_utf8_lossy(&output.stderr)),
    }
}
