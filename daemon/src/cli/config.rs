// SPDX-License-Identifier: Apache-2.0

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config::{self, Config, DEFAULT_FILE, Handlers, find_program};

/// Prints the defaults with comments.
pub(super) fn print_default() -> anyhow::Result<()> {
    super::print(&Config::default().to_text())
}

/// Prints what is in force.
pub(super) fn show(file: Option<PathBuf>) -> anyhow::Result<()> {
    super::print(&config::load(file.as_deref())?.to_text())
}

/// Prints what another runtime's configuration amounts to.
pub(super) fn import(file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    super::print(&config::import::import(file, &text)?.to_text())
}

/// Reads a file as the daemon would and looks for the programs it names.
pub(super) fn check(file: Option<PathBuf>) -> anyhow::Result<()> {
    let config = config::load(file.as_deref())?;
    let handlers = Handlers::resolve(&config, find_program)?;
    for missing in handlers.missing() {
        eprintln!("warning: {missing}");
    }
    for handler in handlers.iter() {
        let default =
            if handler.name == handlers.default_handler().name { " (default)" } else { "" };
        println!("handler {}{default}: {}", handler.name, handler.program.display());
    }
    let file = file.as_deref().unwrap_or(Path::new(DEFAULT_FILE));
    println!("{}: no mistake found", file.display());
    Ok(())
}
