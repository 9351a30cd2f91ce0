//! Assignment of splits. Groups stay together, and images for evaluation are far from images for training.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use landfall_model::LatLng;
use landfall_model::cells::leaf;
use rayon::prelude::*;
use rstar::RTree;
use sha2::{Digest, Sha256};

use super::row::Row;
use crate::data::split_rules::{hash_fraction, is_closer_than};
use crate::io::args::parse_fraction;

pub(super) const TRAIN: &str = "train";
pub(super) const DEV: &str = "dev";
pub(super) const HELD_OUT: &str = "held_out";
/// S2 level at which two coordinates count as one place, about a metre.
pub(super) const PLACE_LEVEL: u64 = 23;

/// How images are split.
#[derive(clap::Args)]
pub(super) struct SplitArgs {
    /// Fraction of the groups assigned to the split `dev`
    #[arg(
        long,
        value_name = "FRACTION",
        default_value_t = 0.05,
        value_parser = parse_fraction,
        help_heading = "Training"
    )]
    pub(super) dev: f64,
    /// Fraction of the S2 cells of --held-out-level whose images are assigned to the split `held_out`
    #[arg(
        long,
        value_name = "FRACTION",
        default_value_t = 0.0,
        value_parser = parse_fraction,
        help_heading = "Training"
    )]
    pub(super) held_out: f64,
    /// S2 level of the held-out cells
    #[arg(
        long,
        value_name = "LEVEL",
        default_value_t = 6,
        value_parser = clap::value_parser!(u64).range(0..=30),
        help_heading = "Training"
    )]
    pub(super) held_out_level: u64,
    /// Minimum distance in metres between images for training and images for evaluation
    #[arg(long, value_name = "METRES", default_value_t = 1000.0, help_heading = "Training")]
    pub(super) apart: f64,
    /// Random seed for the splits
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Training")]
    pub(super) seed: u64,
}

impl SplitArgs {
    /// Merges groups that share a place, naming them after the first by name, and assigns a split to each row. A place
    /// with more than `cap` images is likely the default coordinate of a town and merges nothing; otherwise all images
    /// from towns would form one group. A cap of 0 is no limit.
    pub(super) fn assign(&self, rows: &mut [Row], cap: usize) {
        let names = joined_group_names(rows, cap);
        for (row, name) in rows.iter_mut().zip(names) {
            row.group = name;
        }
        let is_held_out = |row: &&Row| {
            let cell = row.at.map(|at| leaf(at).parent(self.held_out_level).to_token());
            cell.is_some_and(|cell| hash_fraction(self.seed, "cell", &cell) < self.held_out)
        };
        // A group with one image in a held-out cell is held out as a whole.
        let held_out: HashSet<String> = rows.par_iter().filter(is_held_out).map(|row| row.group.clone()).collect();
        rows.par_iter_mut().for_each(|row| {
            let is_dev = hash_fraction(self.seed, "group", &row.group) < self.dev;
            row.split = if held_out.contains(&row.group) {
                HELD_OUT
            } else if is_dev {
                DEV
            } else {
                TRAIN
            };
        });
    }

    /// For each row, returns whether it is too near an evaluation image that must be independent of it: `train` rows
    /// must be far from `dev` and `held_out`, and `dev` rows from `held_out`.
    pub(super) fn too_near(&self, rows: &[Row]) -> Vec<bool> {
        let places = |of: &[&str]| {
            let places = rows.iter().filter(|row| of.contains(&row.split)).filter_map(|row| row.at);
            RTree::bulk_load(places.map(LatLng::to_unit_vector).collect())
        };
        let (evaluation, held_out) = (places(&[DEV, HELD_OUT]), places(&[HELD_OUT]));
        let is_near = |at: LatLng, tree: &RTree<[f64; 3]>| {
            let at = at.to_unit_vector();
            tree.nearest_neighbor(&at).is_some_and(|other| is_closer_than(at, *other, self.apart))
        };
        let from = |row: &Row| match row.split {
            TRAIN => Some(&evaluation),
            DEV => Some(&held_out),
            _ => None,
        };
        rows.par_iter().map(|row| row.at.zip(from(row)).is_some_and(|(at, tree)| is_near(at, tree))).collect()
    }
}

/// For each row, the name of its group after merging groups that share a place of at most `cap` images.
fn joined_group_names(rows: &[Row], cap: usize) -> Vec<String> {
    let place = |row: &Row| row.at.map(|at| leaf(at).parent(PLACE_LEVEL).0);
    let mut pictures: HashMap<u64, usize> = HashMap::new();
    rows.iter().filter_map(place).for_each(|place| *pictures.entry(place).or_default() += 1);
    let mut groups = Groups::default();
    let numbers: Vec<usize> = rows
        .iter()
        .map(|row| groups.add(&row.group, place(row).filter(|place| cap == 0 || pictures[place] <= cap)))
        .collect();
    numbers.into_iter().map(|number| groups.name(number).to_owned()).collect()
}

/// A union-find structure over groups that merges groups at the same place.
#[derive(Default)]
pub(super) struct Groups<'a> {
    names: Vec<Cow<'a, str>>,
    numbers: HashMap<Cow<'a, str>, usize>,
    of_place: HashMap<u64, usize>,
    /// The parent of each group, with a name no later in order; roots are their own parents.
    parents: Vec<usize>,
}

impl<'a> Groups<'a> {
    /// Adds a group if it is new, merges it with the groups at `place`, and returns its number.
    pub(super) fn add(&mut self, name: impl Into<Cow<'a, str>>, place: Option<u64>) -> usize {
        let name = name.into();
        let number = match self.numbers.get(&name) {
            Some(number) => *number,
            None => {
                let number = self.names.len();
                self.names.push(name.clone());
                self.numbers.insert(name, number);
                self.parents.push(number);
                number
            }
        };
        if let Some(place) = place {
            let other = *self.of_place.entry(place).or_insert(number);
            let (a, b) = (self.root(number), self.root(other));
            let (first, second) = if self.names[a] <= self.names[b] { (a, b) } else { (b, a) };
            self.parents[second] = first;
        }
        number
    }

    /// The number of groups before merging.
    #[cfg(feature = "cluster")]
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// The name of a group before merging.
    #[cfg(feature = "cluster")]
    pub(super) fn own_name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// The name of a group after merging.
    pub(super) fn name(&mut self, number: usize) -> &str {
        let root = self.root(number);
        &self.names[root]
    }

    /// Finds the root of a group, with path halving.
    fn root(&mut self, mut number: usize) -> usize {
        while self.parents[number] != number {
            self.parents[number] = self.parents[self.parents[number]];
            number = self.parents[number];
        }
        number
    }
}

/// For each row, returns whether it is among the first `cap` rows with its key, in an order by hash that does not
/// depend on the order of the rows. Always true for rows without a key, and if `cap` is 0.
pub(super) fn within_cap<K: Eq + Hash>(rows: &[Row], cap: usize, key: impl Fn(&Row) -> Option<K>) -> Vec<bool> {
    if cap == 0 {
        return vec![true; rows.len()];
    }
    let hashes: Vec<[u8; 32]> = rows.par_iter().map(|row| Sha256::digest(row.file.as_bytes()).into()).collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.par_sort_unstable_by_key(|i| hashes[*i]);
    let (mut counts, mut within) = (HashMap::new(), vec![true; rows.len()]);
    for i in order {
        if let Some(key) = key(&rows[i]) {
            let count: &mut usize = counts.entry(key).or_default();
            *count += 1;
            within[i] = *count <= cap;
        }
    }
    within
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(i: usize, group: &str, at: Option<(f64, f64)>) -> Row {
        let at = at.map(|(lat, lng)| LatLng::new(lat, lng).unwrap());
        Row { file: format!("{i}.jpg"), group: group.into(), at, ..Row::default() }
    }

    fn splits() -> SplitArgs {
        SplitArgs { dev: 0.3, held_out: 0.2, held_out_level: 4, apart: 1000.0, seed: 1 }
    }

    #[test]
    fn groups_that_share_a_place_are_merged() {
        let here = Some((45.0, 5.0));
        let mut rows = [
            row(0, "a", here),
            row(1, "b", None),
            row(2, "c", Some((46.0, 5.0))),
            row(3, "c", here),
            row(4, "b", None),
        ];
        let mut others = rows.clone();
        splits().assign(&mut rows, 2);
        assert_eq!(rows.each_ref().map(|row| row.group.as_str()), ["a", "b", "a", "a", "b"]);
        // Places above the cap do not merge groups.
        splits().assign(&mut others, 1);
        assert_eq!(others.each_ref().map(|row| row.group.as_str()), ["a", "b", "c", "c", "b"]);
    }

    #[test]
    fn caps_do_not_depend_on_the_order() {
        let rows: Vec<Row> = (0..50).map(|i| row(i, "g", (i < 40).then_some((i as f64 % 4.0, 5.0)))).collect();
        let key = |row: &Row| row.at.map(|at| at.lat.to_bits());
        let within = within_cap(&rows, 3, key);
        assert_eq!(within.iter().filter(|is| **is).count(), 4 * 3 + 10);
        assert!(within[40..].iter().all(|is| *is), "rows without a place are not capped");
        let backwards: Vec<Row> = rows.iter().rev().cloned().collect();
        let mut again = within_cap(&backwards, 3, key);
        again.reverse();
        assert_eq!(again, within);
        assert!(within_cap(&rows, 0, key).iter().all(|is| *is));
    }

    proptest! {
        #[test]
        fn evaluation_images_are_far_from_training_images(
            places in prop::collection::vec((-0.05f64..0.05, -0.05f64..0.05, 0usize..20), 2..150), middle in -85.0f64..85.0,
        ) {
            let mut rows: Vec<Row> = places
                .iter()
                .enumerate()
                .map(|(i, (lat, lng, group))| row(i, &format!("g{group}"), Some((middle + lat, 179.99 + lng))))
                .collect();
            let splits = splits();
            splits.assign(&mut rows, 0);
            for (a, b) in rows.iter().flat_map(|a| rows.iter().map(move |b| (a, b))) {
                prop_assert!(a.group != b.group || a.split == b.split);
            }
            let near = splits.too_near(&rows);
            for (i, row) in rows.iter().enumerate() {
                let must_be_far = |other: &&Row| match row.split {
                    TRAIN => other.split != TRAIN,
                    DEV => other.split == HELD_OUT,
                    _ => false,
                };
                let distances = rows.iter().filter(must_be_far).filter_map(|other| Some(other.at?.distance_m(row.at?)));
                let nearest = distances.fold(f64::INFINITY, f64::min);
                prop_assert_eq!(near[i], nearest < 1000.0, "{}", nearest);
            }
        }
    }
}
