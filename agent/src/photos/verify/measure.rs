//! How often verdicts are right, measured on photos whose place is known.

use std::fmt;
use std::path::Path;

use anyhow::Result;
use landfall_common::text::sanitize_line;
use landfall_model::{Classifier, LatLng, images};
use serde::Serialize;

use crate::photos::capture_time::{CaptureTime, capture_time};
use crate::photos::verify::calibration::{Bin, Calibration, Pool, Verdict};
use crate::photos::verify::claim::{Claim, ClaimedCells, Evidence};
use crate::photos::verify::light::{LightCurve, brightness};
use crate::photos::verify::sun::{SunPosition, sun_position};
use crate::photos::verify::table::KnownPhoto;
use crate::photos::verify::{posterior_of, ratio};

/// Distances in kilometres between the place of a photo and its false claims: one claim for each band, since near places
/// are harder to tell apart than far ones.
const BANDS_KM: [(f64, f64); 4] = [(250.0, 750.0), (750.0, 2500.0), (2500.0, 7000.0), (7000.0, 20_016.0)];

/// The result of [`measure`], as printed by `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Measurement {
    /// The bundle, `name@version`.
    pub bundle: String,
    /// Number of photos that were read.
    pub photos: usize,
    /// Radius of the claims.
    pub radius_km: f64,
    /// Computed likelihood ratios of true and of false claims.
    pub bins: Vec<Bin>,
    /// Whether the verdicts below are by an earlier measurement, which is a part of the program, or by this one.
    pub judged_by: Judge,
    /// True claims, and false ones by their distance from the truth.
    pub outcomes: Vec<Outcome>,
    /// Brightness by day and at night, if some photos have a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub light: Option<LightCurve>,
    #[serde(skip)]
    calibration: Calibration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Judge {
    EarlierMeasurement,
    ThisMeasurement,
}

/// Verdicts on claims of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Outcome {
    pub claims: String,
    pub n: usize,
    pub supports: usize,
    pub does_not_tell: usize,
    pub contradicts: usize,
}

/// A claim on a photo, the band of its distance from the truth (`None` for the truth itself), and what the photo says.
type Tested = (Option<usize>, Option<Evidence>);

/// Tests true and false claims on photos whose place is known: for each photo its place, and in each band of distances the
/// place of another photo. `on_photo` is called after each with the error if it could not be read.
///
/// # Errors
/// When inference fails.
pub(crate) fn measure(
    classifier: &Classifier,
    photos: &[KnownPhoto],
    radius_km: f64,
    mut on_photo: impl FnMut(&Path, Option<&landfall_model::Error>),
) -> Result<Measurement> {
    let bundle = classifier.bundle.manifest.id();
    let (mut tested, mut lit, mut read) = (Vec::<Tested>::new(), Vec::<(f64, SunPosition)>::new(), 0);
    for (i, photo) in photos.iter().enumerate() {
        let image = match images::open_with_warning(&photo.file) {
            Ok(decoded) => decoded.image,
            Err(error) => {
                on_photo(&photo.file, Some(&error));
                continue;
            }
        };
        read += 1;
        let posterior = posterior_of(classifier, &image)?;
        for (band, at) in claims(photos, i, radius_km) {
            let cells = ClaimedCells::new(Claim { at, radius_km }, &classifier.bundle.cells);
            tested.push((band, cells.evidence(&posterior)));
        }
        if let Some(CaptureTime::Known(time)) = capture_time(&photo.file) {
            lit.extend(sun_position(photo.at, time).map(|sun| (brightness(&image), sun)));
        }
        on_photo(&photo.file, None);
    }
    let ratios =
        tested.iter().filter_map(|(band, evidence)| Some((evidence.as_ref()?.likelihood_ratio, band.is_none())));
    let calibration = Calibration::fit(bundle.clone(), read, ratios.collect());
    let (judge, judged_by) = match Calibration::of(&bundle) {
        Some(earlier) => (earlier, Judge::EarlierMeasurement),
        None => (&calibration, Judge::ThisMeasurement),
    };
    let bands = std::iter::once(None).chain((0..BANDS_KM.len()).map(Some));
    let outcomes = bands.map(|band| Outcome::of(band, radius_km, &tested, judge)).filter(|outcome| outcome.n > 0);
    Ok(Measurement {
        photos: read,
        radius_km,
        judged_by,
        outcomes: outcomes.collect(),
        light: (!lit.is_empty()).then(|| LightCurve::count(&lit)),
        bins: calibration.bins.clone(),
        bundle,
        calibration,
    })
}

/// The place of a photo, and places of other photos in each band of distances from it that has any.
fn claims(photos: &[KnownPhoto], i: usize, radius_km: f64) -> Vec<(Option<usize>, LatLng)> {
    let truth = photos[i].at;
    let distances_km: Vec<f64> = photos.iter().map(|other| other.at.distance_m(truth) / 1000.0).collect();
    let in_band = |(band, (from, to)): (usize, &(f64, f64))| {
        let is_in = |km: f64| km > from.max(radius_km) && km <= *to;
        let others: Vec<usize> = (0..photos.len()).filter(|other| is_in(distances_km[*other])).collect();
        // Scattered over the others, and the same in every run.
        let chosen = others.get((i * 7919 + band * 104_729) % others.len().max(1))?;
        Some((Some(band), photos[*chosen].at))
    };
    std::iter::once((None, truth)).chain(BANDS_KM.iter().enumerate().filter_map(in_band)).collect()
}

impl Outcome {
    fn of(band: Option<usize>, radius_km: f64, tested: &[Tested], judge: &Calibration) -> Self {
        let verdict =
            |evidence: &Option<Evidence>| Verdict::of(evidence.as_ref().map_or(1.0, |found| judge.ratio(found)));
        let verdicts: Vec<Verdict> =
            tested.iter().filter(|(of, _)| *of == band).map(|(_, evidence)| verdict(evidence)).collect();
        let [supports, does_not_tell, contradicts] =
            Verdict::ALL.map(|verdict| verdicts.iter().filter(|one| **one == verdict).count());
        let claims = match band.map(|band| BANDS_KM[band]) {
            None => "true".to_owned(),
            Some((from, to)) => format!("false, {:.0} to {to:.0} km off", from.max(radius_km)),
        };
        Self { claims, n: verdicts.len(), supports, does_not_tell, contradicts }
    }
}

impl fmt::Display for Measurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bundle, photos, radius_km, .. } = self;
        writeln!(f, "{}: {photos} photos, claims with a radius of {radius_km} km", sanitize_line(bundle))?;
        writeln!(f, "\n{:<28} {:>6} {:>9} {:>14} {:>12}", "claims", "n", "supports", "does not tell", "contradicts")?;
        for Outcome { claims, n, supports, does_not_tell, contradicts } in &self.outcomes {
            let share = |count: &usize| format!("{:.1} %", 100.0 * *count as f64 / *n as f64);
            let (yes, maybe, no) = (share(supports), share(does_not_tell), share(contradicts));
            writeln!(f, "{claims:<28} {n:>6} {yes:>9} {maybe:>14} {no:>12}")?;
        }
        writeln!(
            f,
            "\n{:>20} {:>12} {:>13} {:>15}",
            "computed ratio", "true claims", "false claims", "measured ratio"
        )?;
        for Pool { bins, true_claims, false_claims, log10_measured } in self.calibration.pools() {
            let computed = |bin: Option<&Bin>| ratio(libm::exp10(bin.map_or(0.0, |bin| bin.log10_ratio)));
            let (from, to) = (computed(bins.first()), computed(bins.last()));
            let range = if from == to { from } else { format!("{from} to {to}") };
            let measured = ratio(libm::exp10(log10_measured));
            writeln!(f, "{range:>20} {true_claims:>12} {false_claims:>13} {measured:>15}")?;
        }
        let by = match self.judged_by {
            Judge::EarlierMeasurement => "Verdicts are by the measurement that is a part of this program.",
            Judge::ThisMeasurement => "Verdicts are by the ratios measured on these same photos.",
        };
        write!(f, "\n{by}")?;
        if let Some(light) = &self.light {
            write!(f, "\n\n{:>16} {:>6} {:>8}", "brightness up to", "by day", "at night")?;
            for bin in light.bins() {
                write!(f, "\n{:>16} {:>6} {:>8}", bin.to, bin.day, bin.night)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn false_claims_are_other_places_in_every_band() {
        let at = |lng: f64| KnownPhoto { file: "a.jpg".into(), at: LatLng::new(0.0, lng).unwrap() };
        // 0, 111, 556, 1,112, 3,336 and 17,792 km east.
        let photos = [0.0, 1.0, 5.0, 10.0, 30.0, 160.0].map(at);
        let found = claims(&photos, 0, 200.0);
        let lngs: Vec<_> = found.iter().map(|(band, at)| (*band, at.lng)).collect();
        assert_eq!(lngs, [(None, 0.0), (Some(0), 5.0), (Some(1), 10.0), (Some(2), 30.0), (Some(3), 160.0)]);
        // A claim that contains the truth is not false.
        assert_eq!(claims(&photos, 0, 1000.0).len(), 4);
    }
}
