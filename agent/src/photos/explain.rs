//! What in photos their predictions depend on.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use image::RgbImage;
use landfall_common::exit::usage_error;
use landfall_common::fs::write_new;
use landfall_common::picture::to_jpeg;
use landfall_common::text::sanitize_line;
use landfall_model::cells::arc_m;
use landfall_model::{Classifier, Posterior, Prediction, images};
use serde::{Serialize, Serializer};

use crate::evidence::view::EncodedView;
use crate::evidence::{Evidence, drawing, explain};
use crate::inference::{Objective, posterior_for};
use crate::photos::inputs::NamedImage;
use crate::photos::locate::{LocateOptions, percent};

/// JPEG quality of the pictures with the map.
const JPEG_QUALITY: u8 = 85;

/// What in a picture a prediction depends on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PictureEvidence {
    #[serde(flatten)]
    pub evidence: Evidence,
    /// The picture with the map over it, once written.
    #[serde(serialize_with = "as_text", skip_serializing_if = "Option::is_none")]
    pub map: Option<PathBuf>,
}

fn as_text<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

/// A prediction, and what it was made with.
pub(super) struct Answer<'a> {
    pub options: LocateOptions<'a>,
    /// The cells within its 50 % radius.
    pub region: Vec<usize>,
}

/// The cells of a posterior within the 50 % radius of a prediction.
pub(super) fn region(posterior: &Posterior<'_>, prediction: &Prediction) -> Vec<usize> {
    let (pin, radius_m) = (prediction.point.to_unit_vector(), 1000.0 * prediction.radius_50_km);
    let reach = |i: &usize| {
        let (d, spread) = (arc_m(posterior.table.vectors()[*i], pin), posterior.table.cells[*i].spread_m);
        (d * d + spread * spread).sqrt()
    };
    // The radius is the reach of a cell, in other units.
    (0..posterior.table.cells.len()).filter(|i| reach(i) <= radius_m + 1.0).collect()
}

impl Answer<'_> {
    /// The probability of the region given other logits.
    fn p(&self, classifier: &Classifier, logits: &[Vec<f32>]) -> Result<f64> {
        let unhinted = posterior_for(&classifier.bundle, logits, Objective::Photo(self.options.prior))?;
        let posterior = self.options.hinted.and_then(|cells| cells.narrow(&unhinted)).unwrap_or(unhinted);
        Ok(self.region.iter().map(|cell| libm::exp(posterior.log_probabilities()[*cell])).sum())
    }
}

/// Explains what each picture of a place contributes to an answer. `embeddings` and `logits` are those of the pictures.
///
/// # Errors
/// When inference fails.
pub(super) fn explain_pictures(
    classifier: &Classifier,
    pictures: &[RgbImage],
    embeddings: &[Vec<f32>],
    logits: &[Vec<f32>],
    answer: &Answer<'_>,
) -> Result<Vec<PictureEvidence>> {
    let of_picture = |(i, (picture, embedding)): (usize, (&RgbImage, &Vec<f32>))| {
        let view = EncodedView::new(classifier, picture, Some(embedding))?;
        let evidence = explain(classifier, &view, |row| {
            let mut all = logits.to_vec();
            all[i] = row;
            answer.p(classifier, &all)
        })?;
        Ok(PictureEvidence { evidence, map: None })
    };
    pictures.iter().zip(embeddings).enumerate().map(of_picture).collect()
}

impl PictureEvidence {
    /// Writes a copy of a picture with the map over it.
    ///
    /// # Errors
    /// When the picture cannot be read, or the file exists or cannot be written.
    fn write(&mut self, picture: &Path, file: &Path) -> Result<()> {
        let picture = images::open(picture)?;
        let drawn = drawing::draw(&picture, &self.evidence.map, self.evidence.part);
        let cannot_draw = || usage_error(format!("{}: cannot be drawn", file.display()));
        write_new(file, &to_jpeg(&drawn, JPEG_QUALITY).with_context(cannot_draw)?)?;
        self.map = Some(file.to_owned());
        Ok(())
    }

    /// What was covered and what came of it.
    pub(crate) fn sentence(&self) -> String {
        let Evidence { part, p, p_without_part, holds_up, .. } = &self.evidence;
        format!(
            "{}: covering the outlined {} of the picture lowers the probability of the answer from {} to {}, covering random \
             parts of that size to {} on average",
            if *holds_up { "holds up" } else { "does not hold up" },
            percent(part.width * part.height),
            percent(*p),
            percent(*p_without_part),
            percent(self.evidence.mean_without_random())
        )
    }
}

impl std::fmt::Display for PictureEvidence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "evidence {}", self.sentence())?;
        match &self.map {
            Some(file) => write!(f, "; see {}", sanitize_line(file.display())),
            None => Ok(()),
        }
    }
}

/// Writes the pictures of a place with their maps to a directory. Returns an error for each that could not be written.
pub(crate) fn write_maps(pictures: &[NamedImage], dir: &Path, evidence: &mut [PictureEvidence]) -> Vec<anyhow::Error> {
    let written = pictures.iter().zip(evidence).map(|(NamedImage { file, name, .. }, evidence)| {
        let is_jpeg =
            name.extension().is_some_and(|ending| ["jpg", "jpeg"].iter().any(|jpeg| ending.eq_ignore_ascii_case(jpeg)));
        let name = if is_jpeg { name.clone() } else { name.with_added_extension("jpg") };
        evidence.write(file, &dir.join(name))
    });
    written.filter_map(Result::err).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::occlusion::OcclusionMap;
    use crate::evidence::view::Part;
    use crate::photos::locate::of_pictures;
    use landfall_model::{Bundle, LatLng, Prior, preprocess};

    fn evidence() -> PictureEvidence {
        let part = Part { left: 0.5, top: 0.0, width: 0.25, height: 0.5 };
        let map = OcclusionMap { area: Part::WHOLE, grid: (2, 2), losses: vec![0.0, 1.0, 0.0, 0.0] };
        let evidence =
            Evidence { part, p: 0.52, p_without_part: 0.204, p_without_random: vec![0.5, 0.48], holds_up: true, map };
        PictureEvidence { evidence, map: None }
    }

    #[test]
    fn maps_are_written_beside_nothing_that_exists() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.png");
        RgbImage::new(64, 48).save(&file).unwrap();
        let pictures = [NamedImage { file: file.clone(), given: file.clone(), name: "sub/a.png".into() }];
        let mut written = [evidence()];
        assert!(write_maps(&pictures, &dir.path().join("maps"), &mut written).is_empty());
        let map = dir.path().join("maps/sub/a.png.jpg");
        assert_eq!(written[0].map.as_ref(), Some(&map));
        let drawn = images::open(&map).unwrap();
        assert_eq!(drawn.dimensions(), (64, 48));
        assert!(drawn.get_pixel(44, 12).0[0] > 80, "{:?}", drawn.get_pixel(44, 12));
        let before = std::fs::read(&map).unwrap();
        let errors = write_maps(&pictures, &dir.path().join("maps"), &mut [evidence()]);
        assert!(errors.len() == 1 && format!("{:#}", errors[0]).contains("a.png.jpg"), "{errors:?}");
        assert_eq!(std::fs::read(&map).unwrap(), before);
    }

    #[test]
    fn evidence_is_stated_with_its_check() {
        let text = evidence().to_string();
        assert_eq!(
            text,
            "evidence holds up: covering the outlined 12 % of the picture lowers the probability of the answer from 52 % to \
             20 %, covering random parts of that size to 49 % on average"
        );
        let json = serde_json::to_value(evidence()).unwrap();
        assert_eq!((&json["holds_up"], &json["part"]["left"]), (&true.into(), &0.5.into()));
        assert!(json.get("map").is_none());
    }

    /// Rounds with one photograph each, under fixtures/rounds.
    const PHOTOS: [&str; 12] = [
        "agra-taj-mahal",
        "athens-parthenon",
        "chichen-itza",
        "egeskov-castle",
        "eilean-donan-castle",
        "giza-great-pyramid",
        "jaipur-hawa-mahal",
        "machu-picchu",
        "mount-rushmore",
        "paris-eiffel-tower",
        "rome-colosseum",
        "venice-waterfront",
    ];

    #[test]
    fn covering_the_highlighted_part_matters_more_than_covering_random_ones() {
        let classifier = Classifier::load(Bundle::find("pocket").unwrap()).unwrap();
        let rounds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/rounds");
        let (mut holding, mut random_holding) = (0, 0);
        for photo in PHOTOS {
            let picture = preprocess::open(rounds.join(photo).join("view_000.jpg")).unwrap();
            let pictures = std::slice::from_ref(&picture);
            let locate = |explain| {
                let options = LocateOptions { prior: Prior::Photo, explain, ..LocateOptions::default() };
                of_pictures(&classifier, photo.into(), pictures, options).unwrap()
            };
            let (located, plain) = (locate(true), locate(false));
            let at = |lat, lng| LatLng::new(lat, lng).unwrap();
            assert_eq!(
                at(located.lat, located.lng),
                at(plain.lat, plain.lng),
                "explaining an answer does not change it"
            );
            assert!(plain.evidence.is_none());
            let evidence = &located.evidence.unwrap()[0].evidence;
            assert!(evidence.p >= 0.499, "half of the probability is within the 50 % radius: {evidence:?}");
            assert!(evidence.part.width * evidence.part.height < 0.15, "{:?}", evidence.part);
            holding += usize::from(evidence.holds_up);
            let [first, rest @ ..] = &evidence.p_without_random[..] else { panic!("no random parts") };
            random_holding += usize::from(*first < evidence.p.min(rest.iter().sum::<f64>() / rest.len() as f64));
        }
        // Random parts in place of the highlighted ones would not pass.
        assert!(holding >= 10 && random_holding < 10, "{holding} and {random_holding} of {}", PHOTOS.len());
    }
}
