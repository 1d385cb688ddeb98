// SPDX-License-Identifier: Apache-2.0
//! Compiles the NRI proto with a pure-Rust compiler: no protoc on the host.

fn main() {
    println!("cargo:rerun-if-changed=proto/nri.proto");
    protobuf_codegen::Codegen::new()
        .pure()
        .include("proto")
        .input("proto/nri.proto")
        .customize(protobuf_codegen::Customize::default().gen_mod_rs(true))
        .cargo_out_dir("nri")
        .run_from_script();
}
