#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| jobrunr_scaler_fuzz::configuration(text));
