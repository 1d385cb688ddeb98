// SPDX-License-Identifier: Apache-2.0
//! Finds the devices a request names in the host's CDI directories.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    CdiEdits, CdiHook, CdiMount,
    file::{CdiFile, DeviceNode, Edits, is_cdi_file, parse},
};
use crate::containers::devices::{self, DeviceError, DeviceKind, ResolvedDevice};

/// Why a CDI device cannot be given.
#[derive(Debug, thiserror::Error)]
pub enum CdiError {
    /// Not `vendor/class=name`.
    #[error("CDI device {0:?} is not a full name (vendor/class=name)")]
    Name(String),
    /// No file describes it.
    #[error("CDI device {name:?} is in no file of {dirs:?}{unreadable}")]
    NotFound {
        /// The device.
        name: String,
        /// Where it was looked for.
        dirs: Vec<PathBuf>,
        /// Files that could not be read, told because the device may be in one of them.
        unreadable: Unreadable,
    },
    /// Two files of one directory describe it.
    #[error("CDI device {name:?} is described twice: in {first:?} and in {second:?}")]
    Conflict {
        /// The device.
        name: String,
        /// One file.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// A directory is there and cannot be read.
    #[error("cannot read the CDI directory {dir:?}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A device node that the device needs is not on the host.
    #[error("CDI device {name:?} cannot be used")]
    Device {
        /// The device.
        name: String,
        /// Why.
        #[source]
        source: DeviceError,
    },
}

/// Files that were passed over, each with the reason.
#[derive(Debug, Default)]
pub struct Unreadable(Vec<(PathBuf, String)>);

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (path, why) in &self.0 {
            write!(f, "; {} cannot be read: {why}", path.display())?;
        }
        Ok(())
    }
}

/// What the devices `names` add to a container. `dirs` are in rising priority: a device of a
/// later directory hides one of the same name in an earlier. Blocks.
///
/// # Errors
/// [`CdiError`] names the first device that cannot be given.
pub fn resolve(names: &[String], dirs: &[PathBuf]) -> Result<CdiEdits, CdiError> {
    let mut edits = CdiEdits::default();
    if names.is_empty() {
        return Ok(edits);
    }
    let shelf = Shelf::read(dirs)?;
    let mut files_used = BTreeSet::new();
    for name in names {
        let (book, device) = shelf.find(name, dirs)?;
        if files_used.insert(&book.path) {
            add(&mut edits, name, &book.file.container_edits)?;
        }
        add(&mut edits, name, device)?;
    }
    Ok(edits)
}

/// All files of the CDI directories.
struct Shelf {
    books: Vec<Book>,
    unreadable: Vec<(PathBuf, String)>,
}

struct Book {
    priority: usize,
    path: PathBuf,
    file: CdiFile,
}

impl Shelf {
    fn read(dirs: &[PathBuf]) -> Result<Self, CdiError> {
        let mut shelf = Self { books: Vec::new(), unreadable: Vec::new() };
        for (priority, dir) in dirs.iter().enumerate() {
            for path in files_of(dir)? {
                let text = fs::read_to_string(&path).map_err(|e| e.to_string());
                match text.and_then(|text| parse(&path, &text)) {
                    Ok(file) => shelf.books.push(Book { priority, path, file }),
                    Err(why) => shelf.unreadable.push((path, why)),
                }
            }
        }
        Ok(shelf)
    }

    fn find(&self, name: &str, dirs: &[PathBuf]) -> Result<(&Book, &Edits), CdiError> {
        let (kind, device) = split(name).ok_or_else(|| CdiError::Name(name.to_owned()))?;
        let mut found: Option<(&Book, &Edits)> = None;
        for book in self.books.iter().filter(|book| book.file.kind == kind) {
            let Some(here) = book.file.devices.iter().find(|known| known.name == device) else {
                continue;
            };
            match found {
                Some((other, _)) if other.priority == book.priority => {
                    return Err(CdiError::Conflict {
                        name: name.to_owned(),
                        first: other.path.clone(),
                        second: book.path.clone(),
                    });
                }
                _ => found = Some((book, &here.container_edits)),
            }
        }
        found.ok_or_else(|| CdiError::NotFound {
            name: name.to_owned(),
            dirs: dirs.to_vec(),
            unreadable: Unreadable(self.unreadable.clone()),
        })
    }
}

fn files_of(dir: &Path) -> Result<Vec<PathBuf>, CdiError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(CdiError::Directory { dir: dir.to_owned(), source }),
    };
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_cdi_file(path)).collect();
    files.sort();
    Ok(files)
}

fn split(name: &str) -> Option<(&str, &str)> {
    let (kind, device) = name.split_once('=')?;
    let (vendor, class) = kind.split_once('/')?;
    let whole = !vendor.is_empty() && !class.is_empty() && !device.is_empty();
    whole.then_some((kind, device))
}

fn add(edits: &mut CdiEdits, name: &str, more: &Edits) -> Result<(), CdiError> {
    edits.env.extend_from_slice(&more.env);
    for asked in &more.device_nodes {
        let found =
            node(asked).map_err(|source| CdiError::Device { name: name.to_owned(), source })?;
        edits.devices.push(found);
    }
    edits.mounts.extend(more.mounts.iter().map(|mount| CdiMount {
        host_path: mount.host_path.clone(),
        container_path: mount.container_path.clone(),
        options: bind_options(&mount.options),
    }));
    edits.hooks.extend(more.hooks.iter().map(|hook| CdiHook {
        stage: hook.hook_name,
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        timeout: hook.timeout,
    }));
    edits.additional_gids.extend_from_slice(&more.additional_gids);
    Ok(())
}

/// What the file does not say of a node is taken from the host's.
fn node(asked: &DeviceNode) -> Result<ResolvedDevice, DeviceError> {
    let host_path = asked.host_path.as_ref().unwrap_or(&asked.path);
    let permissions = asked.permissions.as_deref().unwrap_or("rwm");
    let kind = match asked.kind.as_deref() {
        Some("b") => Some(DeviceKind::Block),
        Some("c" | "u") => Some(DeviceKind::Char),
        Some("p") => Some(DeviceKind::Fifo),
        _ => None,
    };
    let mut node = match (kind, asked.major, asked.minor) {
        (Some(kind), Some(major), Some(minor)) => ResolvedDevice {
            path: asked.path.clone(),
            kind,
            major,
            minor,
            mode: 0o666,
            uid: 0,
            gid: 0,
            permissions: permissions.to_owned(),
        },
        _ => devices::node_at(host_path, &asked.path, permissions)?,
    };
    node.mode = asked.file_mode.unwrap_or(node.mode);
    node.uid = asked.uid.unwrap_or(node.uid);
    node.gid = asked.gid.unwrap_or(node.gid);
    Ok(node)
}

fn bind_options(asked: &[String]) -> Vec<String> {
    let mut options = asked.to_vec();
    if !options.iter().any(|option| option == "bind" || option == "rbind") {
        options.push("rbind".to_owned());
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    const GPU: &str = r"
cdiVersion: '0.5.0'
kind: vendor.com/gpu
containerEdits:
  env: [ALL=1]
devices:
  - name: '0'
    containerEdits:
      env: ['GPU=0']
      deviceNodes: [{path: /dev/gpu0, hostPath: /dev/null, permissions: rw, fileMode: 384}]
      mounts: [{hostPath: /usr/lib/gpu, containerPath: /usr/lib/gpu, options: [ro, nosuid]}]
      hooks: [{hookName: createContainer, path: /bin/ldconfig, args: [ldconfig, -X]}]
      additionalGids: [44]
  - name: '1'
    containerEdits: {env: ['GPU=1']}
";

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_device_brings_its_edits_and_those_of_its_file_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("gpu.yaml"), GPU).unwrap();
        let dirs = [PathBuf::from("/no/such/dir"), dir.path().to_owned()];
        let edits = resolve(&names(&["vendor.com/gpu=0", "vendor.com/gpu=1"]), &dirs).unwrap();
        assert_eq!(edits.env, ["ALL=1", "GPU=0", "GPU=1"]);
        assert_eq!((edits.devices[0].major, edits.devices[0].mode), (1, 0o600));
        assert_eq!(edits.devices[0].path, Path::new("/dev/gpu0"));
        assert_eq!(edits.mounts[0].options, ["ro", "nosuid", "rbind"]);
        assert_eq!(edits.hooks[0].stage, super::super::HookStage::CreateContainer);
        assert_eq!(edits.additional_gids, [44]);
    }

    #[test]
    fn a_later_directory_hides_an_earlier() {
        let (low, high) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let json = |env: &str| {
            format!(
                r#"{{"cdiVersion":"0.3.0","kind":"v/c","devices":
                   [{{"name":"x","containerEdits":{{"env":["{env}"]}}}}]}}"#
            )
        };
        fs::write(low.path().join("a.json"), json("E=low")).unwrap();
        fs::write(high.path().join("a.json"), json("E=high")).unwrap();
        let dirs = [low.path().to_owned(), high.path().to_owned()];
        assert_eq!(resolve(&names(&["v/c=x"]), &dirs).unwrap().env, ["E=high"]);
        fs::write(high.path().join("b.json"), json("E=again")).unwrap();
        assert!(matches!(resolve(&names(&["v/c=x"]), &dirs), Err(CdiError::Conflict { .. })));
    }

    #[test]
    fn what_cannot_be_found_is_told_with_the_files_that_could_not_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let unknown = r#"{"kind":"v/c","devices":[{"name":"x","containerEdits":{"intelRdt":{}}}]}"#;
        fs::write(dir.path().join("bad.json"), unknown).unwrap();
        let error = resolve(&names(&["v/c=x"]), &[dir.path().to_owned()]).unwrap_err().to_string();
        assert!(error.contains("v/c=x") && error.contains("bad.json"), "{error}");
        assert!(error.contains("intelRdt"), "{error}");
        for name in ["x", "v=x", "v/c", "v/c=", "/c=x"] {
            assert!(matches!(resolve(&names(&[name]), &[]), Err(CdiError::Name(_))), "{name}");
        }
    }
}
