//! Pictures that are answered together: files with the same content, and bursts.
//!
//! A burst is a run of neighbours in the order of paths, by the same camera, each at most two seconds after the one before and
//! looking like it. The first picture of a burst is answered, and the others get its answer: they show the same place,
//! and the encoder takes almost all of the time.

use chrono::TimeDelta;

use crate::photos::archive::manifest::Record;
use crate::photos::capture_time::Shot;

/// Maximum time between two pictures of a burst.
const BURST_GAP: TimeDelta = TimeDelta::seconds(2);
/// Maximum number of different bits of two pictures of a burst, of 64. Unrelated pictures differ in about half of them.
const MAX_DIFFERENT_BITS: u32 = 10;

impl Shot {
    pub(super) fn may_be_in_burst(&self) -> bool {
        self.camera.is_some() && (self.utc.is_some() || self.local.is_some())
    }
}

/// The difference hash of a picture: for 8 rows of 9 areas, whether each is brighter than the next one. `tensor` is the
/// encoder's input for the central square.
pub(super) fn look_of(tensor: &[f32], size: usize) -> u64 {
    let plane = size * size;
    let mut areas = [[(0.0_f64, 0_u32); 9]; 8];
    for (y, row) in (0..size).map(|y| (y, y * 8 / size)) {
        for (x, column) in (0..size).map(|x| (x, x * 9 / size)) {
            let at = y * size + x;
            let brightness: f32 = (0..3).map(|channel| tensor[channel * plane + at]).sum();
            let area = &mut areas[row][column];
            *area = (area.0 + f64::from(brightness), area.1 + 1);
        }
    }
    let mean = |(sum, count): (f64, u32)| sum / f64::from(count.max(1));
    let bits = areas.iter().flat_map(|row| row.windows(2).map(|pair| mean(pair[0]) > mean(pair[1])));
    bits.fold(0, |hash, bit| hash << 1 | u64::from(bit))
}

/// What decides whether two neighbours in the order of paths belong to the same burst.
pub(super) struct BurstView {
    taken: Shot,
    look: u64,
    /// Pictures with a position and those without are answered with different priors.
    has_location: bool,
}

impl BurstView {
    /// `None` for a picture that belongs to no burst.
    pub(super) fn of(record: &Record) -> Option<Self> {
        let look = u64::from_str_radix(record.look.as_deref()?, 16).ok()?;
        Some(Self { taken: record.taken.clone(), look, has_location: record.has_location })
    }

    /// Whether this picture belongs to the same burst as the one before it.
    pub(super) fn continues(&self, before: &Self) -> bool {
        let (a, b) = (&before.taken, &self.taken);
        let gap = match (a.utc, b.utc, a.local, b.local) {
            (Some(a), Some(b), ..) => b - a,
            (_, _, Some(a), Some(b)) => b - a,
            _ => return false,
        };
        a.camera.is_some()
            && a.camera == b.camera
            && self.has_location == before.has_location
            && (TimeDelta::zero()..=BURST_GAP).contains(&gap)
            && (self.look ^ before.look).count_ones() <= MAX_DIFFERENT_BITS
    }
}

/// The record of a picture with the answer of another one.
pub(super) fn with_answer_of(record: Record, other: &Record) -> Record {
    Record {
        same_as: Some(other.same_as.clone().unwrap_or_else(|| other.path.clone())),
        answer: other.answer.clone(),
        error: other.error.clone(),
        ..record
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photos::capture_time::parse_time;

    fn shot(time: &str, camera: &str) -> Shot {
        let utc = parse_time(time).unwrap();
        Shot { utc: Some(utc), local: Some(utc.naive_utc()), camera: Some(camera.to_owned()) }
    }

    /// A gradient with some noise, as a tensor.
    fn tensor(size: usize, slope: f32, noise: f32) -> Vec<f32> {
        let pixel = |i: usize| {
            let (x, y) = ((i % size) as f32 / size as f32, (i / size % size) as f32 / size as f32);
            (slope * 9.0 * x + 5.0 * y).sin() + noise * ((i * 7919) % 13) as f32
        };
        (0..3 * size * size).map(pixel).collect()
    }

    #[test]
    fn a_burst_is_of_one_camera_within_seconds_and_looks_alike() {
        let (first, similar) = (look_of(&tensor(64, 1.0, 0.0), 64), look_of(&tensor(64, 1.02, 0.01), 64));
        let other = look_of(&tensor(64, -2.0, 0.0), 64);
        let view = |taken: Shot, look: u64| BurstView { taken, look, has_location: false };
        let maker_one = |time: &str| shot(time, "Maker One");
        let a = view(maker_one("2024-06-01T10:30:00Z"), first);
        assert!(view(maker_one("2024-06-01T10:30:02Z"), similar).continues(&a));
        let unnamed = Shot { camera: None, ..maker_one("2024-06-01T10:30:01Z") };
        for b in [
            view(maker_one("2024-06-01T10:30:03Z"), similar),
            view(maker_one("2024-06-01T10:29:59Z"), similar),
            view(shot("2024-06-01T10:30:01Z", "Maker Two"), similar),
            view(maker_one("2024-06-01T10:30:01Z"), other),
            view(Shot { utc: None, local: None, ..a.taken.clone() }, similar),
            BurstView { has_location: true, ..view(maker_one("2024-06-01T10:30:01Z"), similar) },
        ] {
            assert!(!b.continues(&a), "{:?}", b.taken);
        }
        assert!(!view(unnamed.clone(), first).continues(&view(unnamed, first)));
    }
}
