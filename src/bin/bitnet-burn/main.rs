//! The program `bitnet-burn`: a command line for the library.

mod adapter_file;
mod adapters;
mod allocator;
mod base;
mod bit_fit;
mod choice;
mod convert;
mod device;
mod error;
mod eval;
mod finetune;
mod flags;
mod generate;
mod inspect;
mod interrupt;
mod merge;
mod model_file;
mod model_settings;
mod output;
mod peft_flags;
mod progress;
mod report;
mod sensitivity;
mod settings;
mod train;
mod training;
mod weight_form;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::Output;

/// Trains, fine-tunes, converts and runs BitNet language models.
#[derive(Parser)]
#[command(name = "bitnet-burn", version, after_help = EXAMPLES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Write JSON to stdout: one document, or one line per event of a training.
    #[arg(long, global = true)]
    json: bool,
    /// Write only errors to stderr.
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Command {
    Train(train::Arguments),
    Finetune(finetune::Arguments),
    Eval(eval::Arguments),
    Generate(generate::Arguments),
    Merge(merge::Arguments),
    Convert(convert::Arguments),
    Inspect(inspect::Arguments),
    Sensitivity(sensitivity::Arguments),
    Report(report::Arguments),
}

const EXAMPLES: &str = "\
Examples:
  bitnet-burn train --out run                     train on an excerpt of Shakespeare
  bitnet-burn eval run/model                      compute loss and perplexity
  bitnet-burn generate run/model -p 'To be'       generate text
  bitnet-burn convert run/model packed            2 bits per weight, for transformers
  bitnet-burn convert run/model model.gguf --type TQ2_0
  bitnet-burn inspect model.gguf                  print the content of a file

Exit codes: 0 done (or a training that was interrupted and saved), 1 failed, 2 wrong usage.";

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let Arguments {
        command,
        json,
        quiet,
    } = Arguments::parse();
    let output = Output { json, quiet };
    let result = match command {
        Command::Train(arguments) => train::run(arguments, output),
        Command::Finetune(arguments) => finetune::run(arguments, output),
        Command::Eval(arguments) => eval::run(&arguments, output),
        Command::Generate(arguments) => generate::run(&arguments, output),
        Command::Merge(arguments) => merge::run(&arguments, output),
        Command::Convert(arguments) => convert::run(&arguments, output),
        Command::Inspect(arguments) => inspect::run(&arguments, output),
        Command::Sensitivity(arguments) => sensitivity::run(&arguments, output),
        Command::Report(arguments) => report::run(&arguments, output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bitnet-burn: {failure}");
            failure.exit_code()
        }
    }
}
