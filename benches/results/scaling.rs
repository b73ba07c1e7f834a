//! Forward passes over tokens, width and threads.

use burn::tensor::Device;

use crate::{
    alternate::medians,
    bit_linear::{forward, input, layers},
    in_own_process,
    table::{Table, number},
};

pub const ABOUT: &str = "Milliseconds of a forward pass of `BitLinear` and `Linear` over tokens \
    (1024 to 1024 features), width (512 tokens),\nand threads (512 tokens, 1024 to 4096 features, \
    each in its own process).";

pub fn run(quick: bool) -> Table {
    let head = &["over", "", "BitLinear", "Linear", "speed-up"];
    let mut table = Table::new(head, "speed-up over Linear, longer is better");
    for tokens in [1, 4, 16, 64, 256, 1024, 4096] {
        let times = measure(tokens, 1024, 1024, quick);
        row(&mut table, "tokens", tokens, times);
    }
    for width in [128, 256, 512, 1024, 2048] {
        row(
            &mut table,
            "width",
            width,
            measure(512, width, width, quick),
        );
    }
    let most = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in 1..=most {
        let line = in_own_process(&["threads"], &[("RAYON_NUM_THREADS", &threads.to_string())]);
        let mut times = line.split(' ').map(|time| time.parse().expect("a number"));
        let times = [(); 2].map(|()| times.next().expect("two numbers"));
        row(&mut table, "threads", threads, times);
    }
    table
}

fn row(table: &mut Table, over: &str, value: usize, [bit, full]: [f64; 2]) {
    let ratio = full / bit;
    let cells = [
        over.to_string(),
        value.to_string(),
        number(bit),
        number(full),
    ];
    table.row(cells.into_iter().chain([format!("{ratio:.2}")]));
    table.bar(over, value.to_string(), ratio);
}

fn measure(tokens: usize, d_input: usize, d_output: usize, quick: bool) -> [f64; 2] {
    let device = Device::default();
    let (bit, linear) = layers(d_input, d_output, &device);
    let x = input(tokens, d_input, &device);
    medians([forward(bit, &x), forward(linear, &x)], quick)
}

/// Measures in a process with a number of threads.
pub fn measure_threads() -> String {
    let [bit, full] = measure(512, 1024, 4096, false);
    format!("{bit} {full}")
}
