//! The baseline without a head: the place of the training picture that looks most alike.

use anyhow::{Context, Result};
use landfall_model::LatLng;
use rayon::prelude::*;

use crate::features::samples::{self, Sample};

/// Training pictures with a place, their embeddings scaled to length 1.
pub(crate) struct Neighbours {
    pictures: Vec<(LatLng, String, Vec<f32>)>,
}

impl Neighbours {
    /// The pictures among these that have a place.
    ///
    /// # Errors
    /// When none has.
    pub(crate) fn new(training: &[Sample]) -> Result<Self> {
        let picture = |sample: &Sample| {
            Some((sample.row.at?, sample.row.group.clone(), samples::unit_vector(sample.variants.first()?)))
        };
        let pictures: Vec<_> = training.iter().filter_map(picture).collect();
        pictures.first().context("no training picture has a place to answer with")?;
        Ok(Self { pictures })
    }

    /// For each round of views the place of the training picture with the highest cosine to any of the views. Pictures
    /// of the round's own group do not count. `None` for a round that no picture is left for.
    pub(crate) fn places(&self, rounds: &[Vec<&Sample>]) -> Vec<Option<LatLng>> {
        rounds.par_iter().map(|round| self.nearest(round)).collect()
    }

    fn nearest(&self, round: &[&Sample]) -> Option<LatLng> {
        let views: Vec<Vec<f32>> = round.iter().map(|sample| samples::unit_vector(&sample.variants[0])).collect();
        let group = &round.first()?.row.group;
        let likeness = |embedding: &[f32]| views.iter().map(|view| dot(view, embedding)).fold(f32::MIN, f32::max);
        // The first of equals is the nearest, so that the answer repeats.
        let others = self.pictures.iter().filter(|(_, of, _)| of != group);
        others
            .map(|(at, _, embedding)| (likeness(embedding), *at))
            .reduce(|best, next| if next.0 > best.0 { next } else { best })
            .map(|(_, at)| at)
    }
}

/// In eight sums side by side, which the compiler turns into vector instructions.
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
            sample("lyon", Some(lyon), vec![5.0, 0.0]), // long: only the direction counts
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
