//! Files as they are: plain, `.gz` or `.zst`, read as a whole.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The bytes of a file, unpacked by its extension.
///
/// # Errors
/// What the operating system or the unpacking says.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => {
            flate2::read::MultiGzDecoder::new(io::BufReader::new(file)).read_to_end(&mut bytes)?;
        }
        Some("zst") => zstd::stream::copy_decode(file, &mut bytes)?,
        _ => {
            io::BufReader::new(file).read_to_end(&mut bytes)?;
        }
    }
    Ok(bytes)
}
