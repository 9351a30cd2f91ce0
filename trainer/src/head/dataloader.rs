//! The training batches: sampling, order, choice of variants, mixup and dropout. All of it is derived from the seed and
//! the epoch number.

use std::collections::HashMap;
use std::hash::Hash;

use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use rand::seq::{IteratorRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_distr::Beta;

use crate::data::index::Row;
use crate::features::samples::{self, Sample};
use crate::head::loss::{LabelBatch, Objective};
use crate::head::model::{self, Moments};
use crate::head::recipe::{Recipe, Sampling};

/// The examples of one training step.
pub(crate) struct Batch {
    /// Number of examples.
    pub(crate) n: usize,
    /// Standardised embeddings, `[n, dim]`.
    pub(crate) x: Vec<f32>,
    /// Dropout mask of the hidden units, `[n, hidden]`.
    pub(crate) mask: Option<Vec<f32>>,
    pub(crate) labels: LabelBatch,
}

/// The training pictures.
pub(crate) struct DataLoader<'a> {
    objective: &'a Objective<'a>,
    recipe: &'a Recipe,
    seed: u64,
    rows: Vec<&'a Row>,
    inputs: Vec<Vec<Vec<f32>>>,
    /// Pictures with the same group; a picture without coordinates is a group of its own.
    groups: Vec<Vec<usize>>,
    group_of: Vec<usize>,
    sampler: EpochSampler,
}

impl<'a> DataLoader<'a> {
    /// Standardises the embeddings and counts the pictures per cell and coordinate for the caps.
    pub(crate) fn new(
        samples: &[&'a Sample],
        objective: &'a Objective<'a>,
        recipe: &'a Recipe,
        seed: u64,
        moments: &Moments,
    ) -> Self {
        let inputs = samples.iter().map(|s| s.variants.iter().map(|v| model::standardise(v, moments)).collect());
        let rows: Vec<&Row> = samples.iter().map(|sample| &sample.row).collect();
        // A row without coordinates is a group of its own: other pictures of the country are not views of the same
        // place.
        let group_of = number_by_first_appearance(rows.iter().enumerate().map(|(i, row)| match row.at {
            Some(_) => (row.group.as_str(), 0),
            None => ("", i + 1),
        }));
        let mut groups = vec![Vec::new(); group_of.iter().max().map_or(0, |last| last + 1)];
        group_of.iter().enumerate().for_each(|(i, group)| groups[*group].push(i));
        let sampler = EpochSampler::new(&rows, objective, &recipe.sampling);
        Self { objective, recipe, seed, inputs: inputs.collect(), rows, groups, group_of, sampler }
    }

    /// Number of pictures per epoch.
    pub(crate) fn len(&self) -> usize {
        self.sampler.len
    }

    /// Whether there are no pictures to train on.
    pub(crate) fn is_empty(&self) -> bool {
        self.sampler.len == 0
    }

    /// The pictures of an epoch in order, and the random number generator for its batches.
    pub(crate) fn epoch(&self, epoch: usize) -> (Vec<usize>, StdRng) {
        // The epoch goes into the upper half, so that different pairs of seed and epoch do not collide.
        let mut random = StdRng::seed_from_u64((self.seed ^ 0x5eed) ^ (epoch as u64 + 1) << 32);
        (self.sampler.order(&mut random), random)
    }

    /// The batch of these pictures.
    pub(crate) fn batch(&self, pictures: &[usize], random: &mut StdRng) -> Batch {
        let (n, train) = (pictures.len(), &self.recipe.train);
        let rows: Vec<&Row> = pictures.iter().map(|i| self.rows[*i]).collect();
        let mut labels = self.objective.labels(&rows);
        let mut x: Vec<f32> = pictures.iter().flat_map(|i| self.example(*i, random)).collect();
        if train.mixup > 0.0
            && let Ok(beta) = Beta::new(train.mixup, train.mixup)
        {
            let mut partner: Vec<usize> = (0..n).collect();
            partner.shuffle(random);
            let share: Vec<f32> = (0..n).map(|_| beta.sample(random)).collect();
            let mix = |values: &mut Vec<f32>| *values = mix_pairs(values, &share, &partner);
            let LabelBatch { cells, auxiliary, risk } = &mut labels;
            [&mut x, cells].into_iter().chain(auxiliary).chain(risk).for_each(mix);
        }
        self.objective.smooth_and_normalise(&mut labels);
        apply_dropout(&mut x, train.dropout, random);
        let mask = (train.hidden > 0).then(|| {
            let mut mask = vec![1.0; n * train.hidden];
            apply_dropout(&mut mask, train.dropout, random);
            mask
        });
        Batch { n, x, mask, labels }
    }

    /// The embedding of a random variant of a picture, or the mean over several views of its place.
    fn example(&self, i: usize, random: &mut StdRng) -> Vec<f32> {
        let (settings, group) = (&self.recipe.multi_view, &self.groups[self.group_of[i]]);
        let variant = |i: usize, random: &mut StdRng| &self.inputs[i][random.random_range(0..self.inputs[i].len())];
        let mut sum = variant(i, random).clone();
        if group.len() < 2 || settings.share <= 0.0 || random.random::<f64>() >= settings.share {
            return sum;
        }
        let views = random.random_range(settings.views[0]..=settings.views[1]);
        let is_view = |other: usize| other != i && samples::is_one_place(self.rows[i], self.rows[other]);
        let mut others = group.iter().copied().filter(|other| is_view(*other)).sample(random, views - 1);
        others.sort_unstable();
        for other in &others {
            sum.iter_mut().zip(variant(*other, random)).for_each(|(sum, x)| *sum += x);
        }
        let share = 1.0 / (others.len() + 1) as f32;
        sum.iter_mut().for_each(|sum| *sum *= share);
        sum
    }
}

/// Mixes each row with its partner's row: `share * row + (1 - share) * partner`.
pub(crate) fn mix_pairs(values: &[f32], share: &[f32], partner: &[usize]) -> Vec<f32> {
    let width = values.len() / share.len().max(1);
    let row = |i: usize| &values[i * width..(i + 1) * width];
    let one = |i: usize| row(i).iter().zip(row(partner[i])).map(move |(a, b)| share[i] * a + (1.0 - share[i]) * b);
    (0..share.len()).flat_map(one).collect()
}

fn apply_dropout(values: &mut [f32], share: f32, random: &mut StdRng) {
    if share > 0.0 {
        let keep = 1.0 - share;
        values.iter_mut().for_each(|x| *x = if random.random::<f32>() < keep { *x / keep } else { 0.0 });
    }
}

/// Chooses the pictures of an epoch.
struct EpochSampler {
    /// Number of pictures per epoch.
    len: usize,
    cell_of: Vec<usize>,
    coordinate_of: Vec<usize>,
    cap_per_cell: usize,
    cap_per_coordinate: usize,
    weights: Option<WeightedIndex<f64>>,
}

impl EpochSampler {
    fn new(rows: &[&Row], objective: &Objective<'_>, sampling: &Sampling) -> Self {
        let table = objective.table;
        let cell = |at| table.containing(at).or_else(|| table.nearest(at));
        let cell_of = number_by_first_appearance(
            rows.iter().map(|row| (row.at.and_then(cell), row.at.map_or(row.iso2.as_str(), |_| ""))),
        );
        let coordinate = |at: landfall_model::LatLng| (at.lat.to_bits(), at.lng.to_bits());
        let coordinate_of = number_by_first_appearance(
            rows.iter().enumerate().map(|(i, row)| (row.at.map(coordinate), row.at.map_or(i, |_| 0))),
        );
        let cap = |cap: usize| if cap == 0 { usize::MAX } else { cap };
        let (cap_per_cell, cap_per_coordinate) = (cap(sampling.cap_per_cell), cap(sampling.cap_per_coordinate));
        let mut sampler = Self { len: 0, cell_of, coordinate_of, cap_per_cell, cap_per_coordinate, weights: None };
        sampler.len = sampler.within_caps((0..rows.len()).collect()).len();
        if sampling.balance != 1.0 {
            sampler.weights = WeightedIndex::new(sampler.sampling_weights(sampling.balance)).ok();
        }
        sampler
    }

    fn order(&self, random: &mut StdRng) -> Vec<usize> {
        if let Some(weights) = &self.weights {
            return weights.sample_iter(random).take(self.len).collect();
        }
        let mut order: Vec<usize> = (0..self.cell_of.len()).collect();
        order.shuffle(random);
        self.within_caps(order)
    }

    /// Keeps pictures until the cap of their coordinate or cell is reached. The number kept does not depend on the
    /// order.
    fn within_caps(&self, mut order: Vec<usize>) -> Vec<usize> {
        let (mut in_cell, mut in_coordinate) = (vec![0; self.cell_of.len()], vec![0; self.cell_of.len()]);
        order.retain(|i| {
            let (cell, coordinate) = (&mut in_cell[self.cell_of[*i]], &mut in_coordinate[self.coordinate_of[*i]]);
            let fits = *cell < self.cap_per_cell && *coordinate < self.cap_per_coordinate;
            *cell += usize::from(fits);
            *coordinate += usize::from(fits);
            fits
        });
        order
    }

    /// Sampling weight of each image: that of a cell is proportional to `capped_count^power`, and is shared among the
    /// coordinates within the cell in proportion to their capped counts.
    fn sampling_weights(&self, power: f64) -> Vec<f64> {
        let n = self.cell_of.len();
        let mut in_coordinate = vec![0usize; n];
        self.coordinate_of.iter().for_each(|coordinate| in_coordinate[*coordinate] += 1);
        let share = |i: usize| {
            let pictures = in_coordinate[self.coordinate_of[i]];
            pictures.min(self.cap_per_coordinate) as f64 / pictures as f64
        };
        let mut in_cell = vec![0.0; n];
        (0..n).for_each(|i| in_cell[self.cell_of[i]] += share(i));
        let weight = |i: usize| {
            let full = in_cell[self.cell_of[i]];
            share(i) / full * full.min(self.cap_per_cell as f64).powf(power)
        };
        (0..n).map(weight).collect()
    }
}

/// Numbers distinct keys in order of first appearance.
fn number_by_first_appearance<K: Eq + Hash>(keys: impl Iterator<Item = K>) -> Vec<usize> {
    let mut known = HashMap::new();
    keys.map(|key| {
        let next = known.len();
        *known.entry(key).or_insert(next)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::training_data::TrainingData;
    use crate::head::training_data::tests::{country, place, sample, training_data};

    /// Paris: ten pictures at one coordinate and five at others; Sydney: three; Japan: two with only a country.
    fn pictures() -> TrainingData {
        let mut data = training_data(&[(48.85, 2.35, "FR"), (-33.87, 151.21, "AU"), (35.68, 139.76, "JP")]);
        for i in 0..20u8 {
            let row = match i {
                0..10 => place(48.85, 2.35, "FR"),
                10..15 => place(48.80 + f64::from(i) / 1000.0, 2.35, "FR"),
                15..18 => place(-33.87 + f64::from(i) / 1000.0, 151.21, "AU"),
                _ => country("JP"),
            };
            data.samples.push(sample(row, &[f32::from(i), 1.0, f32::from(i % 3), 2.0]));
        }
        data
    }

    fn with_loader(data: &TrainingData, recipe: &Recipe, check: impl FnOnce(&DataLoader<'_>)) {
        let samples: Vec<&Sample> = data.samples.iter().collect();
        let objective = Objective::new(data, recipe).unwrap();
        check(&DataLoader::new(&samples, &objective, recipe, 1, &Moments::of_samples(&samples)));
    }

    #[test]
    fn caps_limit_an_epoch_and_each_epoch_is_sampled_again() {
        let (data, mut recipe) = (pictures(), Recipe::default());
        with_loader(&data, &recipe, |loader| {
            assert_eq!(loader.len(), 20);
            assert_ne!(loader.epoch(0).0, loader.epoch(1).0);
            assert_eq!(loader.epoch(1).0, loader.epoch(1).0);
        });
        recipe.sampling.cap_per_coordinate = 2;
        with_loader(&data, &recipe, |loader| {
            let spots = |epoch| {
                let mut spots: Vec<usize> = loader.epoch(epoch).0.into_iter().filter(|i| *i < 10).collect();
                spots.sort_unstable();
                spots
            };
            assert_eq!(loader.len(), 2 + 5 + 3 + 2, "rows without coordinates do not share one");
            assert!((0..9).all(|epoch| spots(epoch).len() == 2 && loader.epoch(epoch).0.len() == loader.len()));
            assert!((1..9).any(|epoch| spots(epoch) != spots(0)));
        });
        recipe.sampling.cap_per_cell = 4;
        with_loader(&data, &recipe, |loader| assert_eq!(loader.len(), 4 + 3 + 2));
    }

    #[test]
    fn balance_samples_cells_by_a_power_of_their_counts() {
        let (data, mut recipe) = (pictures(), Recipe::default());
        for (balance, expected) in [(0.0, [1.0 / 3.0, 1.0 / 3.0]), (0.5, [0.5518, 0.2468])] {
            recipe.sampling.balance = balance;
            with_loader(&data, &recipe, |loader| {
                let drawn: Vec<usize> = (0..500).flat_map(|epoch| loader.epoch(epoch).0).collect();
                let share = |range: std::ops::Range<usize>| {
                    drawn.iter().filter(|i| range.contains(i)).count() as f64 / drawn.len() as f64
                };
                assert!((share(0..15) - expected[0]).abs() < 0.02, "{}", share(0..15));
                assert!((share(15..18) - expected[1]).abs() < 0.02, "{}", share(15..18));
            });
        }
    }

    #[test]
    fn a_multi_view_example_is_the_mean_of_the_embeddings() {
        let (data, mut recipe) = (pictures(), Recipe::default());
        recipe.train.dropout = 0.0;
        recipe.multi_view = crate::head::recipe::MultiView { share: 1.0, views: [2, 2] };
        with_loader(&data, &recipe, |loader| {
            let batch = loader.batch(&[0, 15], &mut StdRng::seed_from_u64(3));
            let (averaged, single) = batch.x.split_at(4);
            let is_mean = |other: usize| {
                let pair = loader.inputs[0][0].iter().zip(&loader.inputs[other][0]);
                pair.zip(averaged).all(|((a, b), x)| ((a + b) / 2.0 - x).abs() < 1e-6)
            };
            assert!((1..10).any(is_mean), "the first picture and another at the same coordinate");
            assert_eq!(single, loader.inputs[15][0], "no other picture is of this place");
        });
    }

    #[test]
    fn mixup_mixes_inputs_and_labels() {
        assert_eq!(mix_pairs(&[1.0, 2.0, 5.0, 6.0], &[0.75, 0.5], &[1, 1]), [2.0, 3.0, 5.0, 6.0]);
        let (data, mut recipe) = (pictures(), Recipe::default());
        (recipe.train.mixup, recipe.train.dropout, recipe.label.smoothing) = (0.4, 0.0, 0.0);
        with_loader(&data, &recipe, |loader| {
            let batch = loader.batch(&(0..20).collect::<Vec<_>>(), &mut StdRng::seed_from_u64(3));
            assert!((batch.labels.cells.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(batch.labels.cells.chunks(3).any(|y| y.iter().filter(|y| **y > 0.005).count() > 1));
        });
    }

    #[test]
    fn dropout_keeps_the_mean() {
        let mut ones = vec![1.0; 20_000];
        apply_dropout(&mut ones, 0.3, &mut StdRng::seed_from_u64(3));
        assert!((ones.iter().sum::<f32>() / 20_000.0 - 1.0).abs() < 0.02);
    }
}
