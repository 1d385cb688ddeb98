// SPDX-License-Identifier: Apache-2.0
//! Compiles the CRI proto with a pure-Rust compiler: no protoc on the host.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/cri.proto");
    let descriptors = protox::compile(["proto/cri.proto"], ["proto"])?;
    // A method that the daemon does not write yet answers UNIMPLEMENTED.
    tonic_prost_build::configure().generate_default_stubs(true).compile_fds(descriptors)?;
    Ok(())
}
