// SPDX-License-Identifier: Apache-2.0

use super::*;

/// Prints how long pulls of `CRISP_PULL` (references, separated by spaces) take.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement, not a check"]
async fn pull_speed() {
    let references = std::env::var("CRISP_PULL").unwrap();
    let parent = std::env::var_os("CRISP_ROOT").map_or_else(std::env::temp_dir, PathBuf::from);
    for reference in references.split_whitespace() {
        let dir = tempfile::tempdir_in(&parent).unwrap();
        let images = Images::open(config(dir.path())).unwrap();
        let request = PullRequest { reference: reference.to_owned(), ..PullRequest::default() };
        let begun = std::time::Instant::now();
        let id = images.pull(request).await.unwrap();
        let pulled = begun.elapsed();
        let size = images.resolve(id.as_str()).unwrap().size;
        let begun = std::time::Instant::now();
        images.remove(id.as_str()).await.unwrap();
        println!("{reference}: pull {pulled:.2?}, {size} bytes, remove {:.2?}", begun.elapsed());
    }
}
