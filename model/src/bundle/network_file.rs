//! Files of networks, which may be compressed with gzip: reading them without trusting the size that they unpack to.

use std::fs::{self, File};
use std::io::{self, BufReader, Error as IoError, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// The first bytes of a gzip file (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Maximum size in bytes of a network that is stored compressed.
pub(super) const MAX_INFLATED_BYTES: u64 = 1 << 30;
/// A byte of DEFLATE data describes at most this many bytes.
const MAX_INFLATION: u64 = 1032;

/// The contents of a network's file, inflated if it is compressed.
struct Reader {
    file: Contents,
    /// Bytes that may still be read, for a compressed file.
    left: u64,
}

enum Contents {
    Plain(File),
    Gzip(Box<GzDecoder<BufReader<File>>>),
}

impl Reader {
    fn open(path: &Path, limit: u64) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        // A device or a pipe would have no end.
        if !metadata.is_file() {
            return Err(IoError::new(ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let mut file = File::open(path)?;
        let mut magic = Vec::new();
        (&mut file).take(GZIP.len() as u64).read_to_end(&mut magic)?;
        file.rewind()?;
        let file = match magic == GZIP {
            true => Contents::Gzip(Box::new(GzDecoder::new(BufReader::with_capacity(1 << 16, file)))),
            false => Contents::Plain(file),
        };
        Ok(Self { file, left: limit })
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.file {
            Contents::Plain(file) => file.read(buffer),
            Contents::Gzip(file) => {
                let count = file.read(buffer)?;
                self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
                    IoError::new(ErrorKind::InvalidData, "it unpacks to more bytes than bundle.json states or allows")
                })?;
                Ok(count)
            }
        }
    }
}

/// Checks the sha256 of a network, which is that of the inflated bytes for a compressed file. Those must not be more than
/// `limit`.
pub(super) fn checked(file: &Path, sha256: &str, limit: u64) -> Result<PathBuf> {
    let failed = |source| Error::Read { file: file.to_owned(), source };
    let mut reader = Reader::open(file, limit).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match reader.read(&mut buffer).map_err(failed)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found != sha256 {
        return Err(Error::Checksum { file: file.to_owned(), expected: sha256.to_owned(), found });
    }
    Ok(file.to_owned())
}

/// The bytes of a network, inflated while they are read: the compressed file is never in memory as a whole.
///
/// # Errors
/// When the file cannot be read, is damaged or unpacks to more than a gigabyte.
pub fn read_network(file: &Path) -> Result<Vec<u8>> {
    let failed = |source| Error::Read { file: file.to_owned(), source };
    let mut reader = Reader::open(file, MAX_INFLATED_BYTES).map_err(failed)?;
    let mut bytes = Vec::with_capacity(expected_bytes(file).map_err(failed)?);
    reader.read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The size that the file states, as far as it is possible. Only saves memory; the file may state anything.
fn expected_bytes(path: &Path) -> io::Result<usize> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut magic = Vec::new();
    (&mut file).take(GZIP.len() as u64).read_to_end(&mut magic)?;
    let mut expected = size;
    if magic == GZIP && size >= 4 {
        let mut length = [0; 4];
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut length)?;
        expected =
            u64::from(u32::from_le_bytes(length)).min(size.saturating_mul(MAX_INFLATION)).min(MAX_INFLATED_BYTES);
    }
    // One byte more, so that the end is noticed without growing.
    Ok(usize::try_from(expected).unwrap_or(0).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// The sha256 of "abc" (FIPS 180-2, appendix B.1).
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_network_may_be_compressed_and_its_checksum_is_that_of_its_contents() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.onnx");
        for contents in [b"abc".to_vec(), gzip(b"abc")] {
            fs::write(&file, &contents).unwrap();
            assert_eq!(checked(&file, ABC, 3).unwrap(), file);
            assert_eq!(read_network(&file).unwrap(), b"abc");
        }
        for empty in [b"".to_vec(), b"\x1f".to_vec()] {
            fs::write(&file, &empty).unwrap();
            assert_eq!(read_network(&file).unwrap(), empty);
        }
    }

    #[test]
    fn damaged_files_and_those_that_unpack_to_too_much_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x.onnx");
        let reason = |contents: &[u8], limit: u64| {
            fs::write(&file, contents).unwrap();
            let error = checked(&file, ABC, limit).unwrap_err();
            std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
        };
        assert!(reason(&gzip(b"abc"), 2).contains("more bytes than bundle.json states"));
        assert!(reason(&gzip(&vec![0; 1 << 22]), 1 << 20).contains("more bytes than bundle.json states"));
        assert!(reason(&gzip(b"abd"), 3).contains("is damaged or of another version"));
        let whole = gzip(b"abc");
        for cut in [2, 9, 12, whole.len() - 1] {
            reason(&whole[..cut], 3);
            assert!(read_network(&file).is_err(), "{cut} bytes");
        }
        let mut wrong_checksum = whole.clone();
        wrong_checksum[whole.len() - 6] ^= 1;
        reason(&wrong_checksum, 3);
        let mut wrong_length = whole;
        wrong_length.splice(wrong_length.len() - 4.., [0xff; 4]);
        fs::write(&file, &wrong_length).unwrap();
        assert!(expected_bytes(&file).unwrap() < 40_000, "a stated length does not reserve memory");
        assert!(read_network(&file).is_err());
    }
}
