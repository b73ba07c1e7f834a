#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| bitnet_burn_fuzz::gguf_adapter(data));
