#![no_main]

use wire;

#[expect(dead_code, reason = "each target is one function of the shared file")]
#[path = "../src/targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::encoding(input));
