//! Watches rule files by their names and content: a changed hash asks for a reload. Polling works on every file system,
//! config maps that swap symbolic links among them.

use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

use super::run::Handle;

/// How often the files are looked at.
const EVERY: Duration = Duration::from_secs(2);

/// Asks for a reload whenever a file that one of the globs finds has come, gone or changed, until it is aborted.
pub async fn watch(globs: Vec<String>, handle: Handle) {
    let mut last = fingerprint(&globs);
    loop {
        tokio::time::sleep(EVERY).await;
        let now = fingerprint(&globs);
        if now != last {
            last = now;
            handle.reload();
        }
    }
}

fn fingerprint(globs: &[String]) -> u64 {
    let mut hash = Xxh3::new();
    // A glob that cannot be read finds nothing; the reload will say what is wrong with it.
    for path in globs.iter().flat_map(|pattern| glob::glob(pattern).into_iter().flatten().flatten()) {
        // The lengths keep two files apart whose names and content run into one another.
        let (name, content) = (path.as_os_str().as_encoded_bytes(), std::fs::read(&path).unwrap_or_default());
        for part in [name, &content] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    hash.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_comes_goes_or_changes_is_seen() {
        let folder = std::env::temp_dir().join(format!("driftline-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let globs = [folder.join("*.yaml").display().to_string()];
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("a.yaml", "one");
        let first = fingerprint(&globs);
        assert_eq!(fingerprint(&globs), first, "nothing has changed");
        write("notes.txt", "no rules");
        assert_eq!(fingerprint(&globs), first, "no glob finds it");
        write("a.yaml", "two");
        let changed = fingerprint(&globs);
        assert_ne!(changed, first);
        write("b.yaml", "");
        let grown = fingerprint(&globs);
        assert_ne!(grown, changed, "an empty file is a file");
        std::fs::remove_file(folder.join("b.yaml")).unwrap();
        assert_eq!(fingerprint(&globs), changed);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
