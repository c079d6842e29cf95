//! Watches rule files by their content: a changed hash asks for a reload. Polling works on every file system, config maps
//! that swap symbolic links among them.

use std::path::PathBuf;
use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

use super::run::Handle;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Asks for a reload whenever the content of one of the files has changed, until it is aborted.
pub async fn watch(paths: Vec<PathBuf>, handle: Handle) {
    let mut last = fingerprint(&paths);
    loop {
        tokio::time::sleep(EVERY).await;
        let now = fingerprint(&paths);
        if now != last {
            last = now;
            handle.reload();
        }
    }
}

fn fingerprint(paths: &[PathBuf]) -> u64 {
    let mut hash = Xxh3::new();
    for path in paths {
        // A file that is gone is a change like any other; the reload will say what is wrong with it.
        hash.update(&std::fs::read(path).unwrap_or_default());
        hash.update(&[0]);
    }
    hash.digest()
}
