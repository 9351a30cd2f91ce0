//! The EXIF orientation, read as leniently as browsers do.

/// A TIFF structure, such as EXIF data, with its first directory. Fields that cannot be read are ignored.
pub(super) struct Tiff<'a> {
    bytes: &'a [u8],
    is_little_endian: bool,
    directory: usize,
}

/// A field of a directory, with its value if that fits into four bytes.
pub(super) struct Entry {
    kind: u16,
    count: u32,
    value: [u8; 4],
    is_little_endian: bool,
}

const ORIENTATION: u16 = 0x112;

impl<'a> Tiff<'a> {
    /// EXIF data without the prefix that JPEG files have. `None` if it is something else.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Self> {
        let is_little_endian = match bytes.first_chunk::<4>()? {
            b"II*\0" => true,
            b"MM\0*" => false,
            _ => return None,
        };
        let mut tiff = Self { bytes, is_little_endian, directory: 0 };
        tiff.directory = usize::try_from(tiff.long(4)?).ok()?;
        Some(tiff)
    }

    fn chunk<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..)?.first_chunk().copied()
    }

    fn short(&self, at: usize) -> Option<u16> {
        let bytes = self.chunk(at)?;
        Some(if self.is_little_endian { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn long(&self, at: usize) -> Option<u32> {
        let bytes = self.chunk(at)?;
        Some(if self.is_little_endian { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    /// A field of the first directory.
    pub(super) fn entry(&self, tag: u16) -> Option<Entry> {
        let entries = usize::from(self.short(self.directory)?);
        let offsets = (0..entries).map(|i| self.directory + 2 + 12 * i);
        let at = offsets.take_while(|at| *at < self.bytes.len()).find(|at| self.short(*at) == Some(tag))?;
        Some(Entry {
            kind: self.short(at + 2)?,
            count: self.long(at + 4)?,
            value: self.chunk(at + 8)?,
            is_little_endian: self.is_little_endian,
        })
    }

    /// The EXIF orientation, 1 to 8; `None` if it is absent or undefined.
    pub(super) fn orientation(&self) -> Option<u8> {
        let number = self.entry(ORIENTATION)?.number()?;
        u8::try_from(number).ok().filter(|number| (1..=8).contains(number))
    }
}

impl Entry {
    /// The first value of type BYTE, SHORT or LONG.
    pub(super) fn number(&self) -> Option<u32> {
        let [a, b, c, d] = self.value;
        let (short, long) = match self.is_little_endian {
            true => (u16::from_le_bytes([a, b]), u32::from_le_bytes([a, b, c, d])),
            false => (u16::from_be_bytes([a, b]), u32::from_be_bytes([a, b, c, d])),
        };
        match (self.kind, self.count) {
            (_, 0) => None,
            (1, _) => Some(a.into()),
            (3, _) => Some(short.into()),
            (4, _) => Some(long),
            _ => None,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// EXIF data with only an orientation, of type BYTE (1), SHORT (3) or LONG (4).
    pub(in crate::images) fn exif(orientation: u8, kind: u8) -> Vec<u8> {
        let mut value = [0; 4];
        value[[0, 0, 0, 1, 3][usize::from(kind)]] = orientation;
        [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0".as_slice(), &[kind], b"\0\0\0\x01", &value, b"\0\0\0\0"].concat()
    }

    #[test]
    fn orientation_is_read_in_all_integer_types_and_only_if_it_is_defined() {
        for kind in [1, 3, 4] {
            for (orientation, expected) in [(0, None), (1, Some(1)), (6, Some(6)), (8, Some(8)), (9, None)] {
                let tiff = exif(orientation, kind);
                assert_eq!(Tiff::new(&tiff).unwrap().orientation(), expected, "type {kind}");
            }
        }
        let little = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        assert_eq!(Tiff::new(little).unwrap().orientation(), Some(6));
    }

    #[test]
    fn damaged_data_has_no_orientation() {
        let whole = exif(6, 3);
        for length in 0..whole.len() {
            let tiff = Tiff::new(&whole[..length]);
            let orientation = tiff.and_then(|tiff| tiff.orientation());
            assert!(orientation.is_none() || length >= 22, "{length}");
        }
        assert!(Tiff::new(b"II*\0\xff\xff\xff\xff").unwrap().orientation().is_none());
        assert!(Tiff::new(b"II*\0\x08\0\0\0\xff\xff\0").unwrap().orientation().is_none());
    }
}
