//! Why state could not be kept or read, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why state could not be kept or read.
#[derive(Debug, Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("{path}: {source}{}", hint(source))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its words.
        source: io::Error,
    },
    /// Another process holds the directory.
    #[error("{0}: another driftline process uses this state directory; give each its own state.path")]
    Locked(PathBuf),
    /// What is there is not what was written.
    #[error(
        "{path}: damaged: {reason}; bring the directory back from a copy, or move {} away to begin again from Kafka: reading then starts early enough to fill the longest window",
        away.display()
    )]
    Damaged {
        /// The file or directory.
        path: PathBuf,
        /// What does not fit.
        reason: String,
        /// What to move away.
        away: PathBuf,
    },
    /// Not every commit is left, or it is not known whether it is. What is left is the state after a whole one, and sound.
    #[error("{path}: damaged: {reason}; the state is that of commit {commit}, and what came after it is read again from Kafka")]
    Older {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
        /// The commit that is gone on from.
        commit: u64,
    },
    /// It is of another format.
    #[error(
        "{path}: written in format {found}, this version reads {expected}; move it away to begin again from Kafka, or run the version that wrote it"
    )]
    Format {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        expected: u32,
    },
    /// Something has failed before, and nothing is relied on any more.
    #[error("{path}: refuses work since this failed: {reason}; nothing that was committed is lost: start again once the cause is gone")]
    Refused {
        /// The directory.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            "; make room and start again: the last commit stands, and what came after it is read again from Kafka"
        }
        _ => "",
    }
}

impl StoreError {
    pub(super) fn io(path: &Path, source: io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), source }
    }

    /// Whether there is simply no place that may be written to.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        let kind = if let StoreError::Io { source, .. } = self { Some(source.kind()) } else { None };
        matches!(kind, Some(io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied))
    }

    /// What the tree below says about its directory.
    pub(super) fn of_tree(path: &Path, error: &fjall::Error) -> StoreError {
        if matches!(error, fjall::Error::Locked) {
            return StoreError::Locked(path.to_owned());
        }
        if matches!(error, fjall::Error::Poisoned) {
            return StoreError::Refused { path: path.to_owned(), reason: "an earlier write in the background".to_owned() };
        }
        let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = source {
            // An end of file in the middle of a block is damage; what else the system says is its own trouble.
            if let Some(error) = error.downcast_ref::<io::Error>()
                && error.raw_os_error().is_some()
                && error.kind() != io::ErrorKind::NotFound
            {
                return StoreError::io(path, io::Error::from_raw_os_error(error.raw_os_error().unwrap_or_default()));
            }
            source = error.source();
        }
        StoreError::damaged(path, format!("{error:?}"))
    }

    /// Damage of the tree or one of its files; the tree as a whole is to be moved away.
    pub(super) fn damaged(tree: &Path, reason: impl Into<String>) -> StoreError {
        StoreError::Damaged { path: tree.to_owned(), reason: reason.into(), away: tree.to_owned() }
    }
}
