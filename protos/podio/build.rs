// SPDX-License-Identifier: Apache-2.0
//! Compiles the Pod I/O proto with a pure-Rust compiler: no protoc on the host.

fn main() {
    println!("cargo:rerun-if-changed=proto/podio.proto");
    protobuf_codegen::Codegen::new()
        .pure()
        .include("proto")
        .input("proto/podio.proto")
        .customize(protobuf_codegen::Customize::default().gen_mod_rs(true))
        .cargo_out_dir("podio")
        .run_from_script();
}
