// SPDX-License-Identifier: Apache-2.0
//! Compiles the CRI proto with a pure-Rust compiler: no protoc on the host.

use std::{env, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/cri.proto");
    let descriptors = protox::compile(["proto/cri.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("cri.descriptors"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        // A method that the daemon does not write yet answers UNIMPLEMENTED.
        .generate_default_stubs(true)
        // Holds credentials; src/redact.rs prints it without them.
        .skip_debug(["AuthConfig"])
        .compile_fds(descriptors)?;
    Ok(())
}
