//! How much of the picture the scans of a truncated JPEG file contain. The entropy-coded data is walked through without
//! computing pixels.

use std::ops::Range;

use super::jpeg_bits::{BitReader, HuffmanTable, Stop};

/// Maximum number of scans, as in the decoder.
const MAX_SCANS: usize = 100;
/// Maximum number of Huffman tables: a progressive file has up to eight per scan.
const MAX_TABLES: usize = 8 * MAX_SCANS;
/// An incomplete refinement that covers less than this share of the height is not used.
const MIN_REFINED_PERCENT: usize = 90;

/// The part of a truncated file that can be decoded.
pub(super) struct Extent {
    /// Number of complete pixel rows, from the top.
    pub(super) rows: u32,
    /// Whether fine detail is missing in all rows.
    pub(super) lacks_detail: bool,
    /// Whether decoders need the rest of the rows too: in progressive files they go through all of them in each scan.
    pub(super) needs_all_rows: bool,
    /// The offset of the height in the frame header.
    height_at: usize,
    /// Where the usable scans end.
    end: usize,
}

impl Extent {
    /// The file with an end marker and, unless decoders need the others, only the complete rows.
    pub(super) fn complete_part(&self, bytes: &[u8]) -> Vec<u8> {
        let mut part = bytes[..self.end].to_vec();
        if !self.needs_all_rows {
            let rows = u16::try_from(self.rows).unwrap_or(u16::MAX);
            part[self.height_at..self.height_at + 2].copy_from_slice(&rows.to_be_bytes());
        }
        part.extend([0xff, 0xd9]);
        part
    }
}

/// Finds out how much of the picture a file contains; `None` if its scans cannot be walked through.
pub(super) fn extent(bytes: &[u8]) -> Option<Extent> {
    // Interrupted downloads reserve the space of the rest, which is then zero. A zero behind 0xff belongs to it.
    let last = bytes.iter().rposition(|byte| *byte != 0)?;
    let end = last + if bytes[last] == 0xff { 2 } else { 1 };
    let bytes = &bytes[..end.min(bytes.len())];
    let mut walk = Walk::default();
    let mut at = 2;
    while let Some((marker, body, next)) = next_segment(bytes, at) {
        match marker {
            0xc0..=0xc2 => {
                walk.frame = Some(Frame::new(bytes.get(body..next)?, body)?);
                walk.is_progressive = marker == 0xc2;
            }
            0xc4 => walk.read_tables(bytes.get(body..next)?)?,
            0xdd => walk.restart_interval = usize::from(u16::from_be_bytes(*bytes.get(body..)?.first_chunk()?)),
            0xd9 => break,
            0xda => {
                at = walk.scan(bytes, body..next)?;
                if walk.cut.is_some() {
                    break;
                }
                continue;
            }
            _ => {}
        }
        at = next;
    }
    walk.extent(bytes.len())
}

/// The next marker with the range of its body; markers without a segment are skipped.
fn next_segment(bytes: &[u8], mut at: usize) -> Option<(u8, usize, usize)> {
    loop {
        let pair = bytes.get(at..at + 2)?;
        match *pair {
            [0xff, 0x00 | 0x01 | 0xd0..=0xd8] => at += 2,
            [0xff, 0xd9] => return Some((0xd9, at + 2, at + 2)),
            [0xff, marker] if marker != 0xff => {
                let length = usize::from(u16::from_be_bytes(*bytes.get(at + 2..)?.first_chunk()?)).max(2);
                let next = at + 2 + length;
                return (next <= bytes.len()).then_some((marker, at + 4, next));
            }
            _ => at += 1,
        }
    }
}

/// A component of the picture.
struct Component {
    id: u8,
    /// Sampling factors.
    h: usize,
    v: usize,
    /// Per coefficient, the number of complete pixel rows of its first scan.
    rows: [usize; 64],
    /// Per block of a progressive file, which coefficients are not zero: refinements depend on it.
    nonzero: Vec<u64>,
}

/// The frame header.
struct Frame {
    width: usize,
    height: usize,
    height_at: usize,
    /// The largest sampling factors.
    h: usize,
    v: usize,
    components: Vec<Component>,
}

/// A component in a scan, with the slots of its tables.
struct Part {
    component: usize,
    dc: usize,
    ac: usize,
}

/// The parameters of a scan.
struct Scan {
    parts: Vec<Part>,
    /// The coefficients.
    first: usize,
    last: usize,
    /// Whether it only adds bits to coefficients of earlier scans.
    is_refinement: bool,
}

/// The Huffman tables in their slots.
struct Tables<'a> {
    dc: &'a [Option<HuffmanTable>; 4],
    ac: &'a [Option<HuffmanTable>; 4],
}

impl<'a> Tables<'a> {
    fn dc(&self, part: &Part) -> Option<&'a HuffmanTable> {
        self.dc.get(part.dc)?.as_ref()
    }

    fn ac(&self, part: &Part) -> Option<&'a HuffmanTable> {
        self.ac.get(part.ac)?.as_ref()
    }
}

#[derive(Default)]
struct Walk {
    frame: Option<Frame>,
    is_progressive: bool,
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<HuffmanTable>; 4],
    restart_interval: usize,
    scans: usize,
    tables: usize,
    /// Where an incomplete scan starts that does not reach far enough to be used.
    cut: Option<usize>,
    /// Where the data of the last scan ends that is used.
    end: Option<usize>,
}

impl Frame {
    fn new(body: &[u8], at: usize) -> Option<Self> {
        let [_, h1, h0, w1, w0, count, components @ ..] = body else { return None };
        let side = |high: u8, low: u8| usize::from(u16::from_be_bytes([high, low]));
        let components = components.as_chunks::<3>().0.iter().take(usize::from(*count));
        let mut frame = Self {
            width: side(*w1, *w0),
            height: side(*h1, *h0),
            height_at: at + 1,
            h: 1,
            v: 1,
            components: Vec::new(),
        };
        for [id, factors, _] in components {
            let (h, v) = (usize::from(factors >> 4), usize::from(factors & 15));
            if !(1..=4).contains(&h) || !(1..=4).contains(&v) {
                return None;
            }
            (frame.h, frame.v) = (frame.h.max(h), frame.v.max(v));
            frame.components.push(Component { id: *id, h, v, rows: [0; 64], nonzero: Vec::new() });
        }
        (frame.width > 0 && frame.height > 0 && !frame.components.is_empty()).then_some(frame)
    }

    /// The number of units per row and column when all components are interleaved.
    fn units(&self) -> (usize, usize) {
        (self.width.div_ceil(8 * self.h), self.height.div_ceil(8 * self.v))
    }
}

impl Walk {
    fn read_tables(&mut self, mut body: &[u8]) -> Option<()> {
        while let [class_and_slot, rest @ ..] = body {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let total = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(total)?;
            let tables = if class_and_slot >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            self.tables += 1;
            let table = HuffmanTable::new(counts, symbols).filter(|_| self.tables <= MAX_TABLES);
            *tables.get_mut(usize::from(class_and_slot & 15))? = Some(table?);
            body = rest;
        }
        Some(())
    }

    /// Walks through a scan, whose header is in `header`, and returns where its data ends.
    fn scan(&mut self, bytes: &[u8], header: Range<usize>) -> Option<usize> {
        self.scans += 1;
        let frame = self.frame.as_mut().filter(|_| self.scans <= MAX_SCANS)?;
        let scan = Scan::new(&bytes[header.clone()], frame)?;
        let tables = Tables { dc: &self.dc, ac: &self.ac };
        let has_tables = scan.parts.iter().all(|part| {
            (!scan.needs_dc() || tables.dc(part).is_some()) && (!scan.needs_ac() || tables.ac(part).is_some())
        });
        if !has_tables {
            return None;
        }
        let mut bits = BitReader::new(bytes, header.end);
        let (across, down, unit_rows) = match scan.parts[..] {
            [Part { component, .. }] => {
                let component = &frame.components[component];
                let blocks = |side: usize, factor: usize, of: usize| (side * factor).div_ceil(of).div_ceil(8);
                let across = blocks(frame.width, component.h, frame.h);
                (across, blocks(frame.height, component.v, frame.v), 8 * frame.v / component.v)
            }
            _ => (frame.units().0, frame.units().1, 8 * frame.v),
        };
        let (mut rows, mut row_end) = (0, bits.position());
        let mut run = 0;
        let mut until_restart = self.restart_interval;
        'walk: while rows < down {
            for x in 0..across {
                if self.restart_interval > 0 && until_restart == 0 {
                    if !bits.restart() {
                        break 'walk;
                    }
                    (run, until_restart) = (0, self.restart_interval);
                }
                until_restart = until_restart.saturating_sub(1);
                if scan.unit(frame, &tables, &mut bits, &mut run, (x, rows)).is_err() {
                    break 'walk;
                }
            }
            rows += 1;
            row_end = bits.position();
        }
        let is_complete = rows == down;
        let rows = (rows * unit_rows).min(frame.height);
        if scan.is_refinement && rows * 100 < frame.height * MIN_REFINED_PERCENT {
            // Four bytes precede the body: the marker and the length.
            self.cut = header.start.checked_sub(4);
            return Some(header.end);
        }
        for part in &scan.parts {
            for known in &mut frame.components[part.component].rows[scan.first..=scan.last] {
                *known = if scan.is_refinement { rows.min(*known) } else { rows.max(*known) };
            }
        }
        self.end = Some(if is_complete { bits.position() } else { row_end });
        Some(bits.skip_to_marker())
    }

    fn extent(self, length: usize) -> Option<Extent> {
        let frame = self.frame?;
        let rows = frame.components.iter().flat_map(|component| component.rows).min()?;
        let end = self.cut.or(self.end)?.min(length);
        Some(Extent {
            rows: u32::try_from(rows).ok()?,
            lacks_detail: self.cut.is_some(),
            needs_all_rows: self.is_progressive,
            height_at: frame.height_at,
            end,
        })
    }
}

impl Scan {
    fn new(header: &[u8], frame: &Frame) -> Option<Self> {
        let (count, rest) = header.split_first()?;
        let (parts, rest) = rest.split_at_checked(2 * usize::from(*count))?;
        let [first, last, approximation, ..] = *rest else { return None };
        let part = |[id, slots]: &[u8; 2]| {
            let component = frame.components.iter().position(|component| component.id == *id)?;
            Some(Part { component, dc: usize::from(slots >> 4), ac: usize::from(slots & 15) })
        };
        let parts = parts.as_chunks().0.iter().map(part).collect::<Option<Vec<_>>>()?;
        let (first, last) = (usize::from(first), usize::from(last));
        let is_sound = first <= last && last < 64 && !parts.is_empty() && (parts.len() == 1 || first == 0);
        is_sound.then_some(Self { parts, first, last, is_refinement: approximation >> 4 > 0 })
    }

    fn needs_dc(&self) -> bool {
        self.first == 0 && !self.is_refinement
    }

    fn needs_ac(&self) -> bool {
        self.last > 0
    }

    /// Walks through the blocks of a unit at (x, y).
    fn unit(
        &self,
        frame: &mut Frame,
        tables: &Tables<'_>,
        bits: &mut BitReader<'_>,
        run: &mut u32,
        (x, y): (usize, usize),
    ) -> Result<(), Stop> {
        let (across, down) = frame.units();
        for part in &self.parts {
            let (dc, ac) = (tables.dc(part), tables.ac(part));
            let component = &mut frame.components[part.component];
            if self.first > 0 {
                let stride = across * component.h;
                if component.nonzero.is_empty() {
                    component.nonzero = vec![0; stride * down * component.v];
                }
                let nonzero = component.nonzero.get_mut(y * stride + x).ok_or(Stop)?;
                let mut band = Band { bits, table: ac.ok_or(Stop)?, nonzero, run, last: self.last };
                return if self.is_refinement { band.refine(self.first) } else { band.first_pass(self.first) };
            }
            let blocks = if self.parts.len() > 1 { component.h * component.v } else { 1 };
            for _ in 0..blocks {
                if self.is_refinement {
                    bits.skip(1)?;
                    continue;
                }
                let size = bits.symbol(dc.ok_or(Stop)?)?;
                bits.skip(size.into())?;
                if self.last > 0 {
                    all_coefficients(bits, ac.ok_or(Stop)?)?;
                }
            }
        }
        Ok(())
    }
}

/// Walks through the AC coefficients of a block in a sequential file.
fn all_coefficients(bits: &mut BitReader<'_>, table: &HuffmanTable) -> Result<(), Stop> {
    let mut k = 1;
    while k < 64 {
        let symbol = bits.symbol(table)?;
        match (symbol >> 4, symbol & 15) {
            (15, 0) => k += 16,
            (_, 0) => break,
            (zeros, size) => {
                k += usize::from(zeros) + 1;
                bits.skip(size.into())?;
            }
        }
    }
    Ok(())
}

/// The coefficients of a block in a scan of a progressive file.
struct Band<'a, 'bytes> {
    bits: &'a mut BitReader<'bytes>,
    table: &'a HuffmanTable,
    nonzero: &'a mut u64,
    /// Number of further blocks without new coefficients.
    run: &'a mut u32,
    last: usize,
}

impl Band<'_, '_> {
    fn first_pass(&mut self, first: usize) -> Result<(), Stop> {
        if *self.run > 0 {
            *self.run -= 1;
            return Ok(());
        }
        let mut k = first;
        while k <= self.last {
            let symbol = self.bits.symbol(self.table)?;
            match (symbol >> 4, symbol & 15) {
                (15, 0) => k += 16,
                (exponent, 0) => {
                    *self.run = (1 << exponent) - 1 + self.bits.take(exponent.into())?;
                    break;
                }
                (zeros, size) => {
                    k += usize::from(zeros);
                    self.mark(k);
                    k += 1;
                    self.bits.skip(size.into())?;
                }
            }
        }
        Ok(())
    }

    /// ITU-T T.81, G.1.2.3: coefficients that are not zero yet get a bit each, between new ones.
    fn refine(&mut self, first: usize) -> Result<(), Stop> {
        let mut k = first;
        while k <= self.last && *self.run == 0 {
            let symbol = self.bits.symbol(self.table)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            if size > 0 {
                self.bits.skip(1)?;
            } else if zeros < 15 {
                *self.run = (1 << zeros) + self.bits.take(zeros.into())?;
                break;
            }
            while k <= self.last {
                if *self.nonzero >> k & 1 == 1 {
                    self.bits.skip(1)?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                k += 1;
            }
            if size > 0 {
                self.mark(k);
            }
            k += 1;
        }
        if *self.run > 0 {
            let known = (k..=self.last).filter(|k| *self.nonzero >> k & 1 == 1).count();
            (0..known).try_for_each(|_| self.bits.skip(1))?;
            *self.run -= 1;
        }
        Ok(())
    }

    fn mark(&mut self, k: usize) {
        if k < 64 {
            *self.nonzero |= 1 << k;
        }
    }
}
