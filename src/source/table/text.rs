//! Text files, plain or compressed, with the position in the file for the progress.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes read from the file at a time.
const BUFFER: usize = 256 * 1024;

/// How a text file is compressed, by the end of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// `.gz`, of one or several members.
    Gzip,
    /// `.zst`, of one or several frames.
    Zstd,
}

impl Compression {
    /// The compression that the name says, and the name without it.
    #[must_use]
    pub fn strip(name: &str) -> (&str, Compression) {
        if let Some(rest) = name.strip_suffix(".gz") {
            (rest, Compression::Gzip)
        } else if let Some(rest) = name.strip_suffix(".zst") {
            (rest, Compression::Zstd)
        } else {
            (name, Compression::None)
        }
    }
}

/// Counts the bytes that pass.
pub(super) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R) -> (Counted<R>, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(0));
        (Counted { inner, count: Arc::clone(&count) }, count)
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl<R: io::Seek> io::Seek for Counted<R> {
    fn seek(&mut self, to: io::SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// The text of a file, and how many of its bytes have been read.
pub(super) fn open(file: File, compression: Compression) -> io::Result<(Box<dyn BufRead + Send>, Arc<AtomicU64>)> {
    let (counted, count) = Counted::new(file);
    let buffered = BufReader::with_capacity(BUFFER, counted);
    let reader: Box<dyn BufRead + Send> = match compression {
        Compression::None => Box::new(buffered),
        Compression::Gzip => Box::new(BufReader::with_capacity(BUFFER, flate2::bufread::MultiGzDecoder::new(buffered))),
        Compression::Zstd => Box::new(BufReader::with_capacity(BUFFER, zstd::stream::read::Decoder::with_buffer(buffered)?)),
    };
    Ok((reader, count))
}
