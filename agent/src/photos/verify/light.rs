//! What the brightness of a photo says of the position of the sun.

use std::sync::LazyLock;

use landfall_model::RgbImage;
use serde::{Deserialize, Serialize};

use crate::photos::verify::calibration::Verdict;
use crate::photos::verify::sun::SunPosition;

/// Elevation of the sun in degrees above which photos count as taken by day.
const DAY_DEG: f64 = 6.0;
/// Elevation of the sun in degrees below which photos count as taken at night.
const NIGHT_DEG: f64 = -6.0;
/// Upper ends of the bins of brightness.
const ENDS: [f64; 4] = [0.2, 0.3, 0.4, 1.0];

/// Output of `landfall verify --measure --json` on photos with a time; docs/verification.md has the command.
const MEASURED: &str = include_str!("measured/light.json");

/// Photos of similar brightness.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LightBin {
    /// Upper end of the brightness.
    pub to: f64,
    /// Photos taken with the sun more than 6 degrees above the horizon.
    pub day: usize,
    /// Photos taken with the sun more than 6 degrees below the horizon.
    pub night: usize,
}

/// How often photos are dark by day and at night.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LightCurve(Vec<LightBin>);

/// What the brightness of a photo says of whether it was taken by day or at night.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct LightEvidence {
    /// Mean brightness, 0 to 1.
    pub brightness: f64,
    /// Whether the sun's position makes it a photo by day.
    pub is_day: bool,
    /// Measured photos of similar brightness.
    pub similar: LightBin,
    /// All measured photos.
    pub all: LightBin,
    /// What follows for the place and the time together.
    pub verdict: Verdict,
}

/// The mean of the pixels' brightness (luma of ITU-R BT.601), 0 to 1.
pub(super) fn brightness(image: &RgbImage) -> f64 {
    let luma = |pixel: &image::Rgb<u8>| {
        let [r, g, b] = pixel.0.map(u64::from);
        299 * r + 587 * g + 114 * b
    };
    let sum: u64 = image.pixels().map(luma).sum();
    sum as f64 / (255_000.0 * f64::from(image.width()) * f64::from(image.height()).max(1.0))
}

/// Whether it is day (`true`) or night; `None` when the sun is low or it is twilight.
fn is_day(sun: &SunPosition) -> Option<bool> {
    match sun.elevation_deg {
        DAY_DEG.. => Some(true),
        ..=NIGHT_DEG => Some(false),
        _ => None,
    }
}

impl LightCurve {
    /// What was measured.
    pub(super) fn measured() -> &'static Self {
        #[derive(Deserialize)]
        struct File {
            light: LightCurve,
        }
        static CURVE: LazyLock<LightCurve> =
            LazyLock::new(|| serde_json::from_str::<File>(MEASURED).map_or(LightCurve(Vec::new()), |file| file.light));
        &CURVE
    }

    /// Counts photos, given by their brightness and the position of the sun.
    pub(super) fn count(photos: &[(f64, SunPosition)]) -> Self {
        let mut bins = ENDS.map(|to| LightBin { to, ..LightBin::default() });
        for (brightness, sun) in photos {
            let Some(bin) = bins.iter_mut().find(|bin| *brightness <= bin.to) else { continue };
            match is_day(sun) {
                Some(true) => bin.day += 1,
                Some(false) => bin.night += 1,
                None => {}
            }
        }
        Self(bins.into())
    }

    pub(super) fn bins(&self) -> &[LightBin] {
        &self.0
    }

    /// `None` when the sun is low or it is twilight, which were not measured.
    pub(super) fn evidence(&self, brightness: f64, sun: &SunPosition) -> Option<LightEvidence> {
        let is_day = is_day(sun)?;
        let similar = *self.0.iter().find(|bin| brightness <= bin.to)?;
        let add = |sum: LightBin, bin: &LightBin| LightBin {
            to: bin.to,
            day: sum.day + bin.day,
            night: sum.night + bin.night,
        };
        let all = self.0.iter().fold(LightBin::default(), add);
        let share = |n: usize, of: usize| (n as f64 + 0.5) / (of as f64 + 1.0);
        let for_day = share(similar.day, all.day) / share(similar.night, all.night);
        let verdict = Verdict::of(if is_day { for_day } else { 1.0 / for_day });
        Some(LightEvidence { brightness, is_day, similar, all, verdict })
    }
}

impl std::fmt::Display for LightEvidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { brightness, is_day, similar, all, verdict } = self;
        write!(
            f,
            "brightness {brightness:.2}, like {} of {} photos by day and {} of {} at night: {} {}",
            similar.day,
            all.day,
            similar.night,
            all.night,
            verdict.words(),
            if *is_day { "daylight" } else { "night" }
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photos::verify::sun::Light;

    fn sun(elevation_deg: f64) -> SunPosition {
        SunPosition { elevation_deg, azimuth_deg: 180.0, light: Light::Day }
    }

    #[test]
    fn brightness_is_the_mean_of_the_luma() {
        let grey = |level: u8| brightness(&RgbImage::from_pixel(3, 2, image::Rgb([level; 3])));
        assert_eq!((grey(0), grey(255)), (0.0, 1.0));
        assert!((grey(51) - 0.2).abs() < 1e-9);
        let half = RgbImage::from_fn(2, 1, |x, _| image::Rgb([if x == 0 { 0 } else { 255 }; 3]));
        assert_eq!(brightness(&half), 0.5);
    }

    #[test]
    fn only_what_was_measured_is_claimed() {
        let photos = |n: usize, brightness: f64, elevation: f64| vec![(brightness, sun(elevation)); n];
        let measured = LightCurve::count(
            &[
                photos(30, 0.1, -20.0),
                photos(1, 0.1, 30.0),
                photos(99, 0.5, 30.0),
                photos(10, 0.5, -20.0),
                photos(50, 0.1, 0.0),
            ]
            .concat(),
        );
        let evidence =
            |brightness, elevation| measured.evidence(brightness, &sun(elevation)).map(|found| found.verdict);
        assert_eq!(evidence(0.1, 30.0), Some(Verdict::Contradicts));
        assert_eq!(evidence(0.1, -30.0), Some(Verdict::Supports));
        assert_eq!(evidence(0.5, 30.0), Some(Verdict::DoesNotTell));
        assert_eq!(evidence(0.5, -30.0), Some(Verdict::DoesNotTell));
        assert_eq!(evidence(0.25, 30.0), Some(Verdict::DoesNotTell), "no photo was of that brightness");
        assert_eq!((evidence(0.1, 3.0), evidence(0.1, -3.0)), (None, None));
    }

    #[test]
    fn light_was_measured_on_photos_of_both_kinds() {
        let bins = LightCurve::measured().bins();
        assert_eq!(bins.iter().map(|bin| bin.to).collect::<Vec<_>>(), ENDS);
        assert!(bins.iter().map(|bin| bin.day).sum::<usize>() > 100);
        assert!(bins.iter().map(|bin| bin.night).sum::<usize>() > 30);
    }
}
