//! A JPEG writer for kinds of files that common encoders do not write: blocks of one colour each, in any order of scans.

/// The kinds of files.
pub(super) struct Jpeg {
    pub(super) size: (u16, u16),
    pub(super) sampling: [(u8, u8); 3],
    pub(super) has_separate_scans: bool,
    /// Number of units between restart markers; 0 for none. Only without separate scans.
    pub(super) restart_interval: u16,
}

#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    last: u32,
    count: u32,
}

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        for i in (0..count).rev() {
            self.last = self.last << 1 | (value >> i & 1);
            self.count += 1;
            if self.count == 8 {
                self.bytes.push(self.last as u8);
                if self.last == 0xff {
                    self.bytes.push(0);
                }
                (self.last, self.count) = (0, 0);
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        while self.count > 0 {
            self.push(1, 1);
        }
        self.bytes
    }
}

fn segment(marker: u8, body: &[u8]) -> Vec<u8> {
    [&[0xff, marker][..], &u16::try_from(body.len() + 2).unwrap().to_be_bytes(), body].concat()
}

impl Jpeg {
    /// `sample` gives the value of a component at a position (0 to 1) of the picture.
    pub(super) fn encode(&self, sample: impl Fn(usize, f64, f64) -> u8) -> Vec<u8> {
        let ((width, height), sampling) = (self.size, self.sampling);
        let widest = sampling.iter().map(|(h, _)| usize::from(*h)).max().unwrap();
        let highest = sampling.iter().map(|(_, v)| usize::from(*v)).max().unwrap();
        let mut file = b"\xff\xd8".to_vec();
        file.extend(segment(0xdb, &[&[0][..], &[1; 64]].concat()));
        let [h1, h0] = height.to_be_bytes();
        let [w1, w0] = width.to_be_bytes();
        let mut frame = vec![8, h1, h0, w1, w0, 3];
        sampling.iter().enumerate().for_each(|(i, (h, v))| frame.extend([i as u8 + 1, h << 4 | v, 0]));
        file.extend(segment(0xc0, &frame));
        // Differences of 0 to 11 bits have codes of four bits; the end of a block has one of one bit.
        let counts = |length: usize, n: u8| (1..=16).map(|i| if i == length { n } else { 0 }).collect::<Vec<u8>>();
        file.extend(segment(0xc4, &[&[0][..], &counts(4, 12), &(0..12).collect::<Vec<u8>>()].concat()));
        file.extend(segment(0xc4, &[&[0x10][..], &counts(1, 1), &[0]].concat()));
        if self.restart_interval > 0 {
            file.extend(segment(0xdd, &self.restart_interval.to_be_bytes()));
        }
        let scan = |components: &[usize]| {
            let mut header = vec![components.len() as u8];
            components.iter().for_each(|i| header.extend([*i as u8 + 1, 0]));
            header.extend([0, 63, 0]);
            segment(0xda, &header)
        };
        let blocks =
            |length: u16, factor: u8, of: usize| (usize::from(length) * usize::from(factor)).div_ceil(of).div_ceil(8);
        let (across, down) = (usize::from(width).div_ceil(8 * widest), usize::from(height).div_ceil(8 * highest));
        let mut predictions = [0_i32; 3];
        let block = |predictions: &mut [i32; 3], bits: &mut Bits, i: usize, x: usize, y: usize| {
            let (h, v) = (usize::from(sampling[i].0), usize::from(sampling[i].1));
            let value = sample(i, (x as f64 + 0.5) / (across * h) as f64, (y as f64 + 0.5) / (down * v) as f64);
            let coefficient = 8 * (i32::from(value) - 128);
            let difference = coefficient - predictions[i];
            predictions[i] = coefficient;
            let size = 32 - difference.unsigned_abs().leading_zeros();
            bits.push(size, 4);
            bits.push((if difference < 0 { difference - 1 } else { difference }) as u32, size);
            bits.push(0, 1);
        };
        if self.has_separate_scans {
            for (i, (h, v)) in sampling.iter().enumerate() {
                file.extend(scan(&[i]));
                let mut bits = Bits::default();
                for y in 0..blocks(height, *v, highest) {
                    (0..blocks(width, *h, widest)).for_each(|x| block(&mut predictions, &mut bits, i, x, y));
                }
                file.extend(bits.finish());
            }
        } else {
            file.extend(scan(&[0, 1, 2]));
            let mut bits = Bits::default();
            for unit in 0..down * across {
                let (row, column) = (unit / across, unit % across);
                if let Some(restarts) = unit.checked_div(self.restart_interval.into())
                    && unit > 0
                    && unit % usize::from(self.restart_interval) == 0
                {
                    file.extend(std::mem::take(&mut bits).finish());
                    file.extend([0xff, 0xd0 + ((restarts - 1) % 8) as u8]);
                    predictions = [0; 3];
                }
                for (i, (h, v)) in sampling.iter().enumerate() {
                    let (h, v) = (usize::from(*h), usize::from(*v));
                    (0..h * v).for_each(|k| block(&mut predictions, &mut bits, i, column * h + k % h, row * v + k / h));
                }
            }
            file.extend(bits.finish());
        }
        file.extend(b"\xff\xd9");
        file
    }
}

/// A grey progressive JPEG of 8x8 blocks in four scans: of the mean and one further coefficient all bits but the last, then
/// the last bits of both. Also returns where the scans start.
pub(super) fn progressive(
    across: u16,
    down: u16,
    sample: impl Fn(usize, usize) -> (i32, i32),
) -> (Vec<u8>, [usize; 4]) {
    let blocks: Vec<(i32, i32)> = (0..usize::from(down))
        .flat_map(|y| (0..usize::from(across)).map(move |x| (x, y)))
        .map(|(x, y)| sample(x, y))
        .collect();
    let mut file = b"\xff\xd8".to_vec();
    file.extend(segment(0xdb, &[&[0][..], &[8; 64]].concat()));
    let ([h1, h0], [w1, w0]) = ((8 * down).to_be_bytes(), (8 * across).to_be_bytes());
    file.extend(segment(0xc2, &[8, h1, h0, w1, w0, 1, 1, 0x11, 0]));
    // All symbols have codes of four bits: their value.
    let table = |class: u8| {
        [&[class][..], &[0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &(0..12).collect::<Vec<u8>>()].concat()
    };
    file.extend(segment(0xc4, &table(0)));
    file.extend(segment(0xc4, &table(0x10)));
    let size = |value: i32| 32 - value.unsigned_abs().leading_zeros();
    let signed = |bits: &mut Bits, value: i32| {
        bits.push((if value < 0 { value - 1 } else { value }) as u32, size(value));
    };
    let mut starts = [0; 4];
    for (i, [first, last, approximation]) in
        [[0, 0, 1], [1, 63, 1], [0, 0, 0x10], [1, 63, 0x10]].into_iter().enumerate()
    {
        starts[i] = file.len();
        file.extend(segment(0xda, &[1, 1, 0, first, last, approximation]));
        let (mut bits, mut prediction) = (Bits::default(), 0);
        for (mean, other) in &blocks {
            match i {
                0 => {
                    let difference = (mean >> 1) - prediction;
                    prediction = mean >> 1;
                    bits.push(size(difference), 4);
                    signed(&mut bits, difference);
                }
                1 => {
                    let value = other / 2;
                    if value != 0 {
                        bits.push(size(value), 4);
                        signed(&mut bits, value);
                    }
                    bits.push(0, 4); // end of the block
                }
                2 => bits.push((mean & 1) as u32, 1),
                _ => {
                    if other.abs() == 1 {
                        bits.push(1, 4);
                        bits.push(u32::from(*other > 0), 1);
                    }
                    bits.push(0, 4);
                    if other.abs() > 1 {
                        bits.push(other.unsigned_abs() & 1, 1);
                    }
                }
            }
        }
        file.extend(bits.finish());
    }
    file.extend(b"\xff\xd9");
    (file, starts)
}
