// SPDX-License-Identifier: Apache-2.0
//! `-info`: what this shim is, as protobuf `RuntimeInfo` on stdout.

use std::io::{self, Read, Write};

use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use protobuf::{Message, well_known_types::any::Any};

use super::Failed;

pub(super) fn run() -> Result<(), Failed> {
    let mut options = Vec::new();
    io::stdin().lock().take(1 << 20).read_to_end(&mut options)?;
    let mut info = RuntimeInfo::new();
    info.name = "io.containerd.crisp.v1".to_owned();
    info.version = Some(RuntimeVersion {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..RuntimeVersion::default()
    })
    .into();
    if let Ok(any) = Any::parse_from_bytes(&options)
        && !any.type_url.is_empty()
    {
        info.options = Some(any).into();
    }
    io::stdout().write_all(&info.write_to_bytes()?)?;
    Ok(())
}
