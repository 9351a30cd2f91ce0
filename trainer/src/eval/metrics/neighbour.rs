//! Nearest-neighbour baseline: the place of the most similar training picture.

use anyhow::{Context, Result};
use landfall_model::LatLng;
use rayon::prelude::*;

use crate::features::samples::{self, Sample};

/// Training pictures with coordinates and unit-length embeddings.
pub(crate) struct Neighbours {
    pictures: Vec<(LatLng, String, Vec<f32>)>,
}

impl Neighbours {
    /// Keeps the pictures with coordinates.
    ///
    /// # Errors
    /// When no picture has coordinates.
    pub(crate) fn new(training: &[Sample]) -> Result<Self> {
        let picture = |sample: &Sample| {
            Some((sample.row.at?, sample.row.group.clone(), samples::unit_vector(sample.variants.first()?)))
        };
        let pictures: Vec<_> = training.iter().filter_map(picture).collect();
        pictures.first().context("no training picture has coordinates")?;
        Ok(Self { pictures })
    }

    /// For each round, the place of the training picture with the highest cosine similarity to any of its views.
    /// Pictures of the same group are excluded. `None` if no picture is left.
    pub(crate) fn places(&self, rounds: &[Vec<&Sample>]) -> Vec<Option<LatLng>> {
        rounds.par_iter().map(|round| self.nearest(round)).collect()
    }

    fn nearest(&self, round: &[&Sample]) -> Option<LatLng> {
        let views: Vec<Vec<f32>> = round.iter().map(|sample| samples::unit_vector(&sample.variants[0])).collect();
        let group = &round.first()?.row.group;
        let similarity = |embedding: &[f32]| views.iter().map(|view| dot(view, embedding)).fold(f32::MIN, f32::max);
        // Ties are resolved in favour of the first picture, so that the result is deterministic.
        let others = self.pictures.iter().filter(|(_, of, _)| of != group);
        others
            .map(|(at, _, embedding)| (similarity(embedding), *at))
            .reduce(|best, next| if next.0 > best.0 { next } else { best })
            .map(|(_, at)| at)
    }
}

/// Dot product with eight partial sums, which the compiler vectorises.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a.zip(b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::index::Row;
    use crate::eval::metrics::tests::at;

    fn sample(group: &str, at: Option<LatLng>, embedding: Vec<f32>) -> Sample {
        let line =
            format!(r#"{{"set":"s","file":"f","lat":"","lng":"","iso2":"FR","group":"{group}","split":"train"}}"#);
        Sample { row: Row { at, ..serde_json::from_str(&line).unwrap() }, variants: vec![embedding] }
    }

    #[test]
    fn the_most_similar_picture_of_another_group_is_the_nearest() {
        let (lyon, rome, oslo) = (at(45.76, 4.83), at(41.9, 12.5), at(59.9, 10.7));
        let training = [
            sample("lyon", Some(lyon), vec![5.0, 0.0]), // not of unit length: only the direction matters
            sample("rome", Some(rome), vec![0.6, 0.8]),
            sample("oslo", Some(oslo), vec![0.0, 1.0]),
            sample("nowhere", None, vec![1.0, 0.1]),
        ];
        let neighbours = Neighbours::new(&training).unwrap();
        let (east, north) = (sample("x", None, vec![0.9, 0.2]), sample("lyon", None, vec![1.0, 0.0]));
        let up = sample("x", None, vec![0.0, 0.1]);
        let results = neighbours.places(&[vec![&east], vec![&north], vec![&east, &up]]);
        assert_eq!(results, [Some(lyon), Some(rome), Some(oslo)]);
        assert!(Neighbours::new(&training[3..]).is_err());
        assert_eq!(dot(&[1.0; 19], &[2.0; 19]), 38.0);
    }
}
