// SPDX-License-Identifier: Apache-2.0

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use crate::config::{self, Config, DEFAULT_FILE, Handlers, find_program};

/// Prints the defaults with comments.
pub(super) fn print_default() -> anyhow::Result<()> {
    print(&Config::default())
}

/// Prints what is in force.
pub(super) fn show(file: Option<PathBuf>) -> anyhow::Result<()> {
    print(&config::load(file.as_deref())?)
}

fn print(config: &Config) -> anyhow::Result<()> {
    match io::stdout().write_all(config.to_text().as_bytes()) {
        // The reader (`crisp config | head`) has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => Ok(done?),
    }
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
