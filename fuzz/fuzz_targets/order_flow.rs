//! See `fuzz::order_flow`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    fuzz::order_flow(input);
});
