//! Everything that is done with a picture before the encoder: reading, hashing, decoding and resizing.

use std::io::Cursor;
use std::path::Path;
use std::time::UNIX_EPOCH;

use landfall_model::images::{self, Decoded, Unreadable};
use landfall_model::metadata::{Metadata, gps};
use landfall_model::preprocess::Preprocess;
use sha2::{Digest, Sha256};

use crate::photos::archive::manifest::Record;
use crate::photos::archive::similar::look_of;
use crate::photos::capture_time::Shot;

/// A picture that can be encoded.
pub(super) struct Prepared {
    /// Without an answer.
    pub record: Record,
    /// The encoder's inputs. They take less memory than the pixels.
    pub tensors: Vec<Vec<f32>>,
    /// What is missing, if the file is truncated.
    pub warning: Option<String>,
}

/// Why a picture has no answer.
pub(super) enum Unprepared {
    /// The file could not be read, which another run may be able to do.
    Unreadable(String),
    /// It is damaged or no picture: a record with the reason.
    Damaged(Box<Record>),
}

/// Size and time of the last change of a file.
pub(super) fn fingerprint(file: &Path) -> std::io::Result<(u64, i64)> {
    let metadata = std::fs::metadata(file)?;
    // Milliseconds, which are whole numbers in every JSON reader.
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let modified_ms = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    };
    Ok((metadata.len(), modified_ms))
}

/// Reads and decodes a picture.
pub(super) fn prepare(root: &Path, path: &str, preprocess: &Preprocess) -> Result<Prepared, Unprepared> {
    let file = root.join(path);
    let unreadable = |error: std::io::Error| Unprepared::Unreadable(format!("{path}: cannot be read: {error}"));
    let (size, modified_ms) = fingerprint(&file).map_err(unreadable)?;
    let mut record = Record {
        path: path.to_owned(),
        size,
        modified_ms,
        sha256: None,
        taken: Shot::default(),
        look: None,
        has_location: false,
        same_as: None,
        answer: None,
        error: None,
    };
    let bytes = match images::read(&file) {
        Ok(bytes) => bytes,
        Err(Unreadable::Io(error)) => return Err(unreadable(error)),
        Err(error) => {
            record.error = Some(error.to_string());
            return Err(Unprepared::Damaged(Box::new(record)));
        }
    };
    record.sha256 = Some(sha256(&bytes));
    record.has_location = matches!(gps::position_in(&mut Cursor::new(&bytes)), Ok(Some(_)));
    record.taken = Metadata::read(&mut Cursor::new(&bytes)).map(|metadata| Shot::of(&metadata)).unwrap_or_default();
    // A decoder that panics on a hostile file must not end a run of hours.
    let decoded = std::panic::catch_unwind(|| images::decode(&bytes));
    let decoded =
        decoded.map_err(|_| "the decoder failed".to_owned()).and_then(|result| result.map_err(|e| e.to_string()));
    match decoded {
        Ok(Decoded { image, warning }) => {
            let tensors: Vec<Vec<f32>> = preprocess.tensors(&image).collect();
            if record.taken.may_be_in_burst() {
                record.look = Some(format!("{:016x}", look_of(&tensors[0], preprocess.size as usize)));
            }
            let warning = warning.map(|warning| format!("{path}: {warning}"));
            Ok(Prepared { record, tensors, warning })
        }
        Err(reason) => {
            record.error = Some(reason);
            Err(Unprepared::Damaged(Box::new(record)))
        }
    }
}

/// The SHA-256 of bytes in hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
