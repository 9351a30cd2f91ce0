//! Which pictures are learned from and which measure: groups stay whole, and what measures is far from what is learned.

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
/// S2 level at which two coordinates are one place, about a metre.
pub(super) const PLACE_LEVEL: u64 = 23;

/// How pictures are split.
#[derive(clap::Args)]
pub(super) struct SplitArgs {
    /// Share of the groups that goes to the split `dev`
    #[arg(long, default_value_t = 0.05, value_parser = parse_fraction)]
    pub(super) dev: f64,
    /// Share of the S2 cells of --held-out-level whose pictures all go to the split `held_out`
    #[arg(long, default_value_t = 0.0, value_parser = parse_fraction)]
    pub(super) held_out: f64,
    /// S2 level of the cells that are held out
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(0..=30))]
    pub(super) held_out_level: u64,
    /// Metres between a picture that is learned from and one that measures, at least
    #[arg(long, default_value_t = 1000.0)]
    pub(super) apart: f64,
    /// Other seeds split otherwise
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
}

impl SplitArgs {
    /// Joins groups that share a place, names them all by the first of them, and gives each row its split. A place of more than
    /// `cap` pictures is a town's and joins nothing, or all that was ever taken in towns would be one group; 0 for any.
    pub(super) fn assign(&self, rows: &mut [Row], cap: usize) {
        let names = joined_group_names(rows, cap);
        for (row, name) in rows.iter_mut().zip(names) {
            row.group = name;
        }
        let is_held_out = |row: &&Row| {
            let cell = row.at.map(|at| leaf(at).parent(self.held_out_level).to_token());
            cell.is_some_and(|cell| hash_fraction(self.seed, "cell", &cell) < self.held_out)
        };
        // One picture in such a cell takes its group with it.
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

    /// For each row whether it lies too near to one that measures what is not to know of it: what is learned from to any
    /// other, `dev` to what is held out.
    pub(super) fn too_near(&self, rows: &[Row]) -> Vec<bool> {
        let places = |of: &[&str]| {
            let places = rows.iter().filter(|row| of.contains(&row.split)).filter_map(|row| row.at);
            RTree::bulk_load(places.map(LatLng::to_unit_vector).collect())
        };
        let (measures, held_out) = (places(&[DEV, HELD_OUT]), places(&[HELD_OUT]));
        let is_near = |at: LatLng, tree: &RTree<[f64; 3]>| {
            let at = at.to_unit_vector();
            tree.nearest_neighbor(&at).is_some_and(|other| is_closer_than(at, *other, self.apart))
        };
        let from = |row: &Row| match row.split {
            TRAIN => Some(&measures),
            DEV => Some(&held_out),
            _ => None,
        };
        rows.par_iter().map(|row| row.at.zip(from(row)).is_some_and(|(at, tree)| is_near(at, tree))).collect()
    }
}

/// For each row the name of its group, where groups that share a place of at most `cap` pictures are one.
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

/// Groups, of which those that share a place are one.
#[derive(Default)]
pub(super) struct Groups<'a> {
    names: Vec<Cow<'a, str>>,
    numbers: HashMap<Cow<'a, str>, usize>,
    of_place: HashMap<u64, usize>,
    /// For each group one that it is joined with, by name no later; itself for the first of them.
    first: Vec<usize>,
}

impl<'a> Groups<'a> {
    /// Adds a group, or says that it is at a place; returns its number.
    pub(super) fn add(&mut self, name: impl Into<Cow<'a, str>>, place: Option<u64>) -> usize {
        let name = name.into();
        let number = match self.numbers.get(&name) {
            Some(number) => *number,
            None => {
                let number = self.names.len();
                self.names.push(name.clone());
                self.numbers.insert(name, number);
                self.first.push(number);
                number
            }
        };
        if let Some(place) = place {
            let other = *self.of_place.entry(place).or_insert(number);
            let (a, b) = (self.root(number), self.root(other));
            let (first, second) = if self.names[a] <= self.names[b] { (a, b) } else { (b, a) };
            self.first[second] = first;
        }
        number
    }

    /// How many there are.
    #[cfg(feature = "cluster")]
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// What a group was called when it was added.
    #[cfg(feature = "cluster")]
    pub(super) fn own_name(&self, number: usize) -> &str {
        &self.names[number]
    }

    /// What those are called that a group is joined with, itself included.
    pub(super) fn name(&mut self, number: usize) -> &str {
        let root = self.root(number);
        &self.names[root]
    }

    /// The first of those that a group is joined with; the way to it gets shorter.
    fn root(&mut self, mut number: usize) -> usize {
        while self.first[number] != number {
            self.first[number] = self.first[self.first[number]];
            number = self.first[number];
        }
        number
    }
}

/// For each row whether it is among the first `cap` of those with its key, in an order that has nothing to do with theirs.
/// Rows without a key, and all with a cap of 0, are.
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
    fn groups_that_share_a_place_are_joined() {
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
        // More than that are a town's.
        splits().assign(&mut others, 1);
        assert_eq!(others.each_ref().map(|row| row.group.as_str()), ["a", "b", "c", "c", "b"]);
    }

    #[test]
    fn caps_do_not_depend_on_the_order() {
        let rows: Vec<Row> = (0..50).map(|i| row(i, "g", (i < 40).then_some((i as f64 % 4.0, 5.0)))).collect();
        let key = |row: &Row| row.at.map(|at| at.lat.to_bits());
        let within = within_cap(&rows, 3, key);
        assert_eq!(within.iter().filter(|is| **is).count(), 4 * 3 + 10);
        assert!(within[40..].iter().all(|is| *is), "rows without a place share none");
        let backwards: Vec<Row> = rows.iter().rev().cloned().collect();
        let mut again = within_cap(&backwards, 3, key);
        again.reverse();
        assert_eq!(again, within);
        assert!(within_cap(&rows, 0, key).iter().all(|is| *is));
    }

    proptest! {
        #[test]
        fn evaluation_pictures_are_far_from_training_pictures(
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
                let not_to_know = |other: &&Row| match row.split {
                    TRAIN => other.split != TRAIN,
                    DEV => other.split == HELD_OUT,
                    _ => false,
                };
                let distances = rows.iter().filter(not_to_know).filter_map(|other| Some(other.at?.distance_m(row.at?)));
                let nearest = distances.fold(f64::INFINITY, f64::min);
                prop_assert_eq!(near[i], nearest < 1000.0, "{}", nearest);
            }
        }
    }
}
