// SPDX-License-Identifier: Apache-2.0
//! Plugins that crisp starts itself: every program `INDEX-NAME` in the directory of plugins.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

use futures::future::join_all;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
    sync::oneshot,
    time::timeout,
};

use super::{
    Settings,
    attend::{Caller, attend},
    error::OpenError,
    identity::Identity,
    plugin::Origin,
};
use crate::pods::context::Context;

/// A plugin's program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Program {
    path: PathBuf,
    identity: Identity,
    config: String,
}

/// Starts all plugins and waits until each is synchronized, or is not to be.
///
/// # Errors
/// [`OpenError::Directory`] when the directory or a configuration cannot be read. A plugin that
/// does not start is only logged.
pub async fn launch(context: &Arc<Context>, settings: &Arc<Settings>) -> Result<(), OpenError> {
    let programs = find(&settings.plugin_dir, &settings.config_dir)?;
    let waits = programs.into_iter().filter_map(|program| {
        let path = program.path.clone();
        match start(context.clone(), settings.clone(), program) {
            Ok(ready) => Some(ready),
            Err(error) => {
                tracing::error!(plugin = %path.display(), %error, "NRI plugin does not start");
                None
            }
        }
    });
    let longest = 2 * settings.registration + settings.request;
    // What is not ready by then goes on; each step of it has its own limit.
    let _ = timeout(longest, join_all(waits)).await;
    Ok(())
}

fn find(plugins: &Path, configs: &Path) -> Result<Vec<Program>, OpenError> {
    let failed = |path: &Path, source| OpenError::Directory { path: path.to_owned(), source };
    let entries = match fs::read_dir(plugins) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|e| failed(plugins, e))?,
    };
    let mut programs = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| failed(plugins, e))?.path();
        let meta = fs::metadata(&path).map_err(|e| failed(&path, e))?;
        if !meta.is_file() || meta.permissions().mode() & 0o111 == 0 {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        match Identity::of_file(name) {
            Ok(identity) => {
                let config = config(configs, &identity)?;
                programs.push(Program { path, identity, config });
            }
            Err(error) => {
                tracing::error!(path = %path.display(), %error, "not started as an NRI plugin");
            }
        }
    }
    programs.sort_by(|one, other| one.identity.cmp(&other.identity));
    Ok(programs)
}

/// Text of `INDEX-NAME.conf`, else of `NAME.conf`, else nothing.
fn config(dir: &Path, identity: &Identity) -> Result<String, OpenError> {
    for name in [format!("{identity}.conf"), format!("{}.conf", identity.name())] {
        let path = dir.join(name);
        match fs::read_to_string(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other.map_err(|source| OpenError::Directory { path, source }),
        }
    }
    Ok(String::new())
}

/// Starts a plugin. Its connection is its standard input: there it needs no descriptor that
/// other programs started meanwhile could inherit.
fn start(
    context: Arc<Context>,
    settings: Arc<Settings>,
    program: Program,
) -> io::Result<oneshot::Receiver<()>> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let stream = UnixStream::from_std(ours)?;
    let child = Command::new(&program.path)
        .env_clear()
        .env("NRI_PLUGIN_NAME", program.identity.name())
        .env("NRI_PLUGIN_IDX", program.identity.index())
        .env("NRI_PLUGIN_SOCKET", "0")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let caller = Caller {
        origin: Origin::Launched,
        called: program.identity.to_string(),
        identity: Some(program.identity),
        config: program.config,
    };
    let (tell, ready) = oneshot::channel();
    tokio::spawn(async move {
        attend(context, settings, stream, caller, tell).await;
        end(child).await;
    });
    Ok(ready)
}

/// A plugin without a connection is of no use.
async fn end(mut child: Child) {
    if let Err(error) = child.kill().await {
        tracing::warn!(%error, "an NRI plugin's process does not end");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_in_order_with_their_configurations() {
        let dir = tempfile::tempdir().unwrap();
        let (plugins, configs) = (dir.path().join("plugins"), dir.path().join("conf.d"));
        assert_eq!(find(&plugins, &configs).unwrap(), []);
        fs::create_dir_all(&plugins).unwrap();
        fs::create_dir_all(&configs).unwrap();
        for (name, mode) in [("20-b", 0o755), ("10-a", 0o755), ("README", 0o644), ("bad", 0o755)] {
            fs::write(plugins.join(name), "").unwrap();
            fs::set_permissions(plugins.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::write(configs.join("a.conf"), "of any a").unwrap();
        fs::write(configs.join("20-b.conf"), "of this b").unwrap();
        fs::write(configs.join("b.conf"), "of any b").unwrap();
        let found: Vec<_> = find(&plugins, &configs)
            .unwrap()
            .into_iter()
            .map(|program| (program.identity.to_string(), program.config))
            .collect();
        let expected = [("10-a", "of any a"), ("20-b", "of this b")];
        assert_eq!(found, expected.map(|(name, config)| (name.into(), config.into())));
    }
}
