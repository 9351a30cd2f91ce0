//! The nearest pictures of a gallery of located pictures.

use landfall_common::gallery::{Gallery, Match};
use landfall_common::text::sanitize_line;
use landfall_model::LatLng;
use serde::Serialize;

/// Number of pictures that are shown.
pub(super) const SHOWN: usize = 5;

/// A picture of a gallery near a photo.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Neighbour {
    /// Its name in the gallery.
    pub file: String,
    /// Where it was taken.
    #[serde(flatten)]
    pub at: LatLng,
    /// Cosine similarity of the embeddings, -1 to 1.
    pub similarity: f64,
    /// Its distance from the prediction in kilometres.
    pub distance_km: f64,
}

/// The matches that are shown. Those whose place cannot be read are left out.
pub(super) fn neighbours(gallery: &Gallery, matches: &[Match], prediction: LatLng) -> Vec<Neighbour> {
    let neighbour = |found: &Match| {
        let at = gallery.place(found.row)?;
        let rounded = |x: f64, digits: f64| (x * digits).round() / digits;
        Some(Neighbour {
            file: gallery.name(found.row),
            at,
            similarity: rounded(found.similarity, 1e4),
            distance_km: rounded(at.distance_m(prediction) / 1000.0, 10.0),
        })
    };
    matches.iter().filter_map(neighbour).take(SHOWN).collect()
}

impl std::fmt::Display for Neighbour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, at, similarity, distance_km } = self;
        let file = sanitize_line(file);
        write!(f, "{file} ({at}), similarity {similarity:.2}, {distance_km:.0} km from the answer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_common::gallery::GalleryBuilder;
    use landfall_model::Bundle;

    #[test]
    fn neighbours_are_the_most_similar_pictures_with_their_distance() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("g.gallery");
        let manifest = Bundle::find("pocket").unwrap().manifest;
        let mut builder = GalleryBuilder::new(&manifest);
        let vector = |i: usize| {
            let mut vector = vec![0.0; manifest.encoder.dim];
            (vector[0], vector[i + 1]) = (1.0, 0.1 * i as f32);
            landfall_model::preprocess::normalise(&mut vector);
            vector
        };
        let (rome, naples) = (LatLng::new(41.9, 12.5).unwrap(), LatLng::new(40.85, 14.27).unwrap());
        for i in 0..8 {
            builder.push(&format!("{i}\u{1b}.jpg"), if i % 2 == 0 { rome } else { naples }, &vector(i)).unwrap();
        }
        builder.write(&file).unwrap();
        let gallery = Gallery::open(&file).unwrap();
        let found = neighbours(&gallery, &gallery.nearest(&vector(0), 8), rome);
        let files: Vec<&str> = found.iter().map(|neighbour| &neighbour.file[..1]).collect();
        assert_eq!(files, ["0", "1", "2", "3", "4"]);
        assert!(found[0].distance_km < 0.1 && (found[1].distance_km - 188.0).abs() < 5.0, "{found:?}");
        let text = found[1].to_string();
        assert!(
            text.contains(", similarity ") && text.ends_with("km from the answer") && !text.contains('\u{1b}'),
            "{text}"
        );
    }
}
