//! The program `bitnet-burn`.

fn main() {}
