//! Trains an ordinary Burn model on Fashion-MNIST in full precision and with ternary or 2-bit
//! weights, then packs the ternary ones: `cargo run --release --example fashion_mnist -- --help`.

mod data;
mod idx;
mod model;
mod options;
mod training;

use std::process::ExitCode;

use bitnet_burn::{
    qat::{PackedModel, Prepare, convert},
    quant::QatScheme,
};
use bitnet_burn_examples::{Error, name, run_example};
use burn::data::dataset::Dataset;

use data::FashionMnist;
use model::Cnn;
use options::Options;
use training::{accuracy, train};

fn main() -> ExitCode {
    run_example(run)
}

fn run(options: Options) -> Result<(), Error> {
    let data = FashionMnist::load(options.data.as_deref())?;
    println!(
        "{} training images, {} test images",
        data.train.len(),
        data.test.len()
    );
    options.device.seed(options.seed);
    let initial = Cnn::new(&options.device.clone().autodiff());

    println!("\nfull precision");
    let float = train(initial.clone(), &data, &options)?;

    println!("\nquantization-aware, from the same initial weights");
    let scheme = QatScheme::weight_only().with_weight(options.quantizer());
    let prepared = Prepare::new(scheme.clone()).apply(initial)?;
    println!("{}", prepared.report);
    let quantized = train(prepared.model, &data, &options)?;

    println!("\ntest accuracy");
    let print_accuracy = |name: &str, model: &Cnn| -> Result<(), Error> {
        let accuracy = accuracy(model, &data.test, &options.device)?;
        println!("  {name:<15}  {accuracy:.2} %");
        Ok(())
    };
    print_accuracy("full precision", &float)?;
    print_accuracy(&name(options.weights), &quantized)?;
    if scheme.weight.is_ternary() {
        // The deployed form: 2 bits per weight, with the outputs of training.
        let packed = convert(&quantized)?;
        let name = format!("{}, packed", name(options.weights));
        let deployed = packed.load_into(Cnn::new(&options.device))?;
        print_accuracy(&name, &deployed)?;
        print_sizes(&packed);
    }
    Ok(())
}

fn print_sizes(packed: &PackedModel) {
    println!("\n{:<16} {:>10} {:>10}", "bytes", "float", "packed");
    let mut float_total = 0;
    for (path, weight) in &packed.weights {
        let float = size_of::<f32>() * weight.dims().iter().product::<usize>();
        float_total += float;
        println!("  {path:<14} {float:>10} {:>10}", weight.num_bytes());
    }
    println!(
        "  {:<14} {float_total:>10} {:>10}",
        "all",
        packed.num_bytes()
    );
}
