//! Bits and Huffman codes of JPEG scans, as far as walking through them needs.

/// The data ends, or is damaged.
pub(super) struct Stop;

/// Lengths and symbols by the next 16 bits. A length of 0 stands for a code that is not assigned.
pub(super) struct HuffmanTable(Vec<(u8, u8)>);

impl HuffmanTable {
    /// `counts` has the number of codes per length, 1 to 16. `None` if there are more than fit.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut lookup = vec![(0, 0); 1 << 16];
        let (mut from, mut symbols) = (0, symbols.iter());
        for (length, count) in (1_u8..).zip(counts) {
            let span = 1 << (16 - length);
            for symbol in symbols.by_ref().take(usize::from(*count)) {
                lookup.get_mut(from..from + span)?.fill((length, *symbol));
                from += span;
            }
        }
        Some(Self(lookup))
    }
}

/// Reads the bits of a scan, up to a marker or the end of the file.
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
    buffer: u64,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, buffer: 0, count: 0 }
    }

    /// An offset at which all bits so far were read. It is not within the escape of a byte 0xff.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    fn fill(&mut self) {
        while self.count <= 56 {
            let byte = match (self.bytes.get(self.at), self.bytes.get(self.at + 1)) {
                (Some(0xff), Some(0)) => {
                    self.at += 1;
                    0xff
                }
                (Some(0xff), _) | (None, _) => return,
                (Some(byte), _) => *byte,
            };
            self.at += 1;
            self.buffer |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    fn drop_bits(&mut self, count: u32) -> Result<(), Stop> {
        if count > self.count {
            return Err(Stop);
        }
        self.buffer <<= count;
        self.count -= count;
        Ok(())
    }

    /// Reads the next `count` bits, up to 16.
    pub(super) fn take(&mut self, count: u32) -> Result<u32, Stop> {
        if self.count < count {
            self.fill();
        }
        let bits = if count == 0 { 0 } else { self.buffer >> (64 - count) };
        self.drop_bits(count)?;
        u32::try_from(bits).map_err(|_| Stop)
    }

    /// Skips the next `count` bits, up to 16.
    pub(super) fn skip(&mut self, count: u32) -> Result<(), Stop> {
        if self.count < count {
            self.fill();
        }
        self.drop_bits(count)
    }

    /// Reads the next Huffman code.
    pub(super) fn symbol(&mut self, table: &HuffmanTable) -> Result<u8, Stop> {
        if self.count < 16 {
            self.fill();
        }
        let (length, symbol) = table.0[(self.buffer >> 48) as usize];
        if length == 0 {
            return Err(Stop);
        }
        self.drop_bits(length.into())?;
        Ok(symbol)
    }

    /// Skips the padding and a restart marker; whether there is one.
    pub(super) fn restart(&mut self) -> bool {
        (self.buffer, self.count) = (0, 0);
        while self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(&[0xff, 0xff])) {
            self.at += 1;
        }
        let is_marker = matches!(self.bytes.get(self.at..), Some([0xff, 0xd0..=0xd7, ..]));
        self.at += if is_marker { 2 } else { 0 };
        is_marker
    }

    /// The offset of the next marker that does not belong to a scan.
    pub(super) fn skip_to_marker(&self) -> usize {
        let is_marker = |pair: &[u8]| pair[0] == 0xff && !matches!(pair[1], 0 | 0xff | 0xd0..=0xd7);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        rest.windows(2).position(is_marker).map_or(self.bytes.len(), |found| self.at + found)
    }
}
