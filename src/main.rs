//! The command line of jobrunr-scaler.
fn main() {}
