//! Compiles KEDA's contract without protoc: protox parses it, tonic and prost generate from the descriptor.
use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    // A program that is linked statically moves itself: three quarters of a megabyte of addresses, or 20 kB in this form.
    if env::var("CARGO_CFG_TARGET_ENV").is_ok_and(|env| env == "musl") {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    let proto = "proto/externalscaler.proto";
    println!("cargo::rerun-if-changed={proto}");
    let descriptors = protox::compile([proto], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // The reflection service hands out the descriptor, so that grpcurl needs no .proto file.
    fs::write(out.join("externalscaler.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure()
        .codec_path("crate::grpc::codec::SmallCodec")
        // In order, equal metadata have equal bytes, by which triggers are found.
        .btree_map(".")
        .compile_fds(descriptors)?;
    Ok(())
}
