// SPDX-License-Identifier: Apache-2.0
//! The image room against a real registry (Debian's docker-registry) and against a bad one.

mod build;
mod fake;
mod faults;
mod pulling;
pub(crate) mod serve;
mod storing;

pub(crate) use build::{Archive, Compression, TestImage};
pub(crate) use serve::{LogIn, RegistryProcess};

use super::*;

/// An image room of its own in a temporary directory.
pub(crate) struct Room {
    pub(crate) images: Images,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn config(dir: &Path) -> ImagesConfig {
    let registries = dir.join("registries.conf");
    if !registries.exists() {
        std::fs::write(&registries, "").unwrap();
    }
    let mut config = ImagesConfig::new(dir);
    config.registries_conf = Some(registries);
    config.patience.silence = std::time::Duration::from_millis(1500);
    config.patience.connect = std::time::Duration::from_millis(700);
    config.patience.first_wait = std::time::Duration::from_millis(5);
    config.patience.tries = 3;
    config
}

impl Room {
    pub(crate) fn new() -> Self {
        assert!(rustix::process::geteuid().is_root(), "needs root: layers have owners and devices");
        let dir = tempfile::tempdir().unwrap();
        let images = Images::open(config(dir.path())).unwrap();
        Self { images, dir }
    }

    pub(crate) fn with_registries(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("registries.conf"), text).unwrap();
        let images = Images::open(config(dir.path())).unwrap();
        Self { images, dir }
    }

    /// The room after the daemon's death and restart.
    pub(crate) fn reopen(&mut self) {
        self.images = Images::open(config(self.dir.path())).unwrap();
    }

    pub(crate) async fn pull(&self, reference: &str) -> Result<ImageId, ImageError> {
        let request = PullRequest { reference: reference.to_owned(), ..PullRequest::default() };
        self.images.pull(request).await
    }

    pub(crate) async fn pull_as(
        &self,
        reference: &str,
        user: &str,
        password: &str,
    ) -> Result<ImageId, ImageError> {
        let auth = AuthFields {
            username: user.to_owned(),
            password: password.to_owned(),
            ..AuthFields::default()
        };
        let request = PullRequest {
            reference: reference.to_owned(),
            auth: Some(auth),
            ..PullRequest::default()
        };
        self.images.pull(request).await
    }

    /// Names in the layer directory, without the room's own.
    pub(crate) fn layers(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("layers")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    pub(crate) fn layer_dir(&self, n: usize, image: &ImageId) -> PathBuf {
        let query = Query::parse(image.as_str(), &[]).unwrap();
        let record = self.images.store().find(&query).unwrap().unwrap();
        self.images.store().diff_dir(&record.layers[n])
    }

    /// Waits until nothing half-made or thrown away is left.
    pub(crate) async fn assert_clean(&self) {
        for name in [".staging", ".trash"] {
            let dir = self.dir.path().join("layers").join(name);
            for _ in 0..200 {
                if std::fs::read_dir(&dir).map_or(0, Iterator::count) == 0 {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
            assert_eq!(
                std::fs::read_dir(&dir).map_or(0, Iterator::count),
                0,
                "{name} is not empty"
            );
        }
    }
}
