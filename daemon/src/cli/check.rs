// SPDX-License-Identifier: Apache-2.0
//! `crisp check`: whether the image store is what it was when it was filled.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use crate::{
    config, daemon,
    images::check::{Repaired, check, repair},
    server::Lock,
};

/// What to do about what is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// Only tell.
    Tell,
    /// Take it out and fetch it again.
    Repair,
}

/// Looks at the store of the configured daemon. Anything broken that stays so is an error.
pub(super) fn run(file: Option<PathBuf>, cure: Cure) -> anyhow::Result<()> {
    let config = config::load(file.as_deref())?;
    // Taken before the look: what is repaired must be what was seen.
    let lock = match cure {
        Cure::Tell => None,
        Cure::Repair => Some(Lock::take(&config.root).context(
            "only a store that no daemon uses is repaired; stop the daemon first, its pods go on",
        )?),
    };
    let found = check(&config.root)?;
    let mut out =
        format!("{} images, {} sealed layers as they should be\n", found.images, found.layers);
    if !found.unsealed.is_empty() {
        out += &format!("{} layers are not sealed yet: not looked into\n", found.unsealed.len());
    }
    for damage in &found.damage {
        out += &format!("BROKEN {}: {}\n", damage.part, damage.what);
    }
    for image in found.broken_images() {
        out += &format!("  breaks image {image}\n");
    }
    super::print(&out)?;
    if found.damage.is_empty() {
        return Ok(());
    }
    let Some(_lock) = lock else {
        bail!("{} things are broken; `crisp check --repair` mends them", found.damage.len());
    };
    let runtime = tokio::runtime::Runtime::new()?;
    let done = runtime.block_on(repair(daemon::images_config(&config), &found))?;
    let mut failed = 0;
    let mut out = String::new();
    for repaired in &done {
        match repaired {
            Repaired::Fetched(name) => out += &format!("fetched again: {name}\n"),
            Repaired::Removed(name) => out += &format!("removed: {name}\n"),
            Repaired::Not { name, why } => {
                failed += 1;
                out += &format!("NOT REPAIRED {name}: {why}\n");
            }
        }
    }
    super::print(&out)?;
    if failed > 0 { bail!("{failed} things are not repaired") } else { Ok(()) }
}
