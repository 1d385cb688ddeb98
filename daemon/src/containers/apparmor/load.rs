// SPDX-License-Identifier: Apache-2.0
//! Gives the kernel crisp's own profile, by the parser of the AppArmor tools.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

use super::{AppArmorError, DEFAULT_PROFILE, loaded_profiles};
use crate::{config::find_program, containers::host::Support};

/// Its text, with `@NAME@` for its name.
const TEXT: &str = include_str!("crisp-default.profile");
/// Reads a profile, gives it to the kernel.
const PARSER: &str = "apparmor_parser";
/// What the parser may take. On a busy machine it needs seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// In the run directory: digest of the profile that was loaded since the host has booted.
const STAMP: &str = "apparmor-profile";

/// Why there is no default profile.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The tools are not installed.
    #[error("{PARSER} is not found; Debian's package apparmor has it")]
    NoParser,
    /// The parser does not run, or the stamp cannot be written.
    #[error("cannot use {}", path.display())]
    Io {
        /// Program or file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// It refuses the profile, or the kernel does.
    #[error("{} ended with {status}: {said}", parser.display())]
    Refused {
        /// The parser.
        parser: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// Its error output.
        said: String,
    },
    /// It does not end.
    #[error("{} did not end within {LIMIT:?}", .0.display())]
    Late(PathBuf),
    /// The kernel does not say what it has.
    #[error(transparent)]
    List(#[from] AppArmorError),
}

/// Sees to it that the kernel has crisp's profile in this version's text; absent if it cannot be
/// had, which is logged. `run` is the run directory.
pub async fn provide(enabled: Support, run: &Path) -> Support {
    if !enabled.is_present() {
        return Support::Absent;
    }
    match load(run).await {
        Ok(()) => Support::Present,
        Err(error) => {
            let error = crate::cri::status::chain(&error);
            tracing::warn!(
                "AppArmor profile {DEFAULT_PROFILE:?} cannot be loaded, containers that name no \
                 profile run without one: {error}"
            );
            Support::Absent
        }
    }
}

async fn load(run: &Path) -> Result<(), LoadError> {
    let text = TEXT.replace("@NAME@", DEFAULT_PROFILE);
    let stamp = run.join(STAMP);
    let digest = format!("{:x}", Sha256::digest(&text));
    let known = fs::read_to_string(&stamp).is_ok_and(|known| known == digest);
    if known && loaded_profiles()?.contains(DEFAULT_PROFILE) {
        return Ok(());
    }
    let parser = find_program(PARSER).ok_or(LoadError::NoParser)?;
    timeout(LIMIT, give(&parser, &text)).await.map_err(|_| LoadError::Late(parser))??;
    // Torn or lost, it costs a load.
    fs::write(&stamp, digest).map_err(|source| LoadError::Io { path: stamp, source })
}

/// Replaces what the kernel has under that name. The parser's cache on disk is left alone: it is
/// the distribution's.
async fn give(parser: &Path, text: &str) -> Result<(), LoadError> {
    let failed = |source| LoadError::Io { path: parser.to_owned(), source };
    let mut child = Command::new(parser)
        .args(["--replace", "--skip-cache", "--quiet"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A parser that does not want it says why, or ends with an error.
        let _ = stdin.write_all(text.as_bytes()).await;
    }
    let output = child.wait_with_output().await.map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(LoadError::Refused { parser: parser.to_owned(), status: output.status, said })
}

#[cfg(test)]
mod tests {
    use crisp_script::program;

    use super::*;

    fn parser(directory: &Path, script: &str) -> PathBuf {
        let path = directory.join("parser");
        program(&path, script).unwrap();
        path
    }

    #[tokio::test]
    async fn the_parser_gets_the_text_and_its_refusal_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let taken = directory.path().join("taken");
        let takes = parser(directory.path(), &format!("cat >{}", taken.display()));
        give(&takes, "profile x {}").await.unwrap();
        assert_eq!(fs::read_to_string(taken).unwrap(), "profile x {}");

        let refuses = parser(directory.path(), "echo 'line 3: nonsense' >&2; exit 1");
        let error = give(&refuses, "profile x {").await.unwrap_err().to_string();
        assert!(error.contains("line 3: nonsense"), "{error}");
    }

    /// Where the tools are at hand, and without a kernel that takes it.
    #[test]
    fn the_parser_understands_the_profile() {
        let Some(parser) = find_program(PARSER) else { return };
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("profile");
        fs::write(&file, TEXT.replace("@NAME@", DEFAULT_PROFILE)).unwrap();
        let output = std::process::Command::new(parser)
            .args(["--skip-kernel-load", "--skip-cache", "--debug"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
