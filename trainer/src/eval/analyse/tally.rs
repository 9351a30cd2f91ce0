//! Statistics of the error analysis: worst rounds, confused countries, and accuracy of the cells.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::PathBuf;

use landfall_common::statistics::median;
use landfall_model::{CellTable, LatLng, countries, place};
use rayon::prelude::*;
use serde::Serialize;

use crate::eval::metrics::RoundResult;
use crate::features::samples::Sample;

/// Number of worst rounds and cells to show; twice as many confusions.
const TOP_COUNT: usize = 10;
/// Number of countries in the confusion matrix.
const MATRIX_SIZE: usize = 14;
/// Minimum number of rounds of a cell in the accuracy ranking.
const MIN_ROUNDS: usize = 3;
/// Country name of places outside all countries.
const AT_SEA: &str = "at sea";

/// A round with a large error.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct WorstRound {
    /// The pictures, as named in the index.
    pub(crate) files: Vec<PathBuf>,
    /// True place.
    pub(crate) truth: LatLng,
    /// Description of the true place.
    pub(crate) truth_place: String,
    /// Position of the pin.
    pub(crate) guess: LatLng,
    /// Description of the position of the pin.
    pub(crate) guess_place: String,
    /// Error in kilometres.
    pub(crate) km: f64,
    /// Points on the World map, unrounded.
    pub(crate) points: f64,
    /// Token of the most likely cell.
    pub(crate) cell: String,
    /// Probability of the most likely cell.
    pub(crate) p: f64,
    /// Probability of the true cell.
    pub(crate) p_truth: f64,
    /// Number of cells that are more likely than the true cell.
    pub(crate) rank_of_truth: usize,
}

/// Rounds in one country with the pin in another.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Confusion {
    /// Name of the true country.
    pub(crate) truth: String,
    /// Name of the country of the pins.
    pub(crate) guess: String,
    /// Number of rounds with this confusion.
    pub(crate) n: usize,
    /// Number of rounds in the true country.
    pub(crate) of: usize,
    /// Median error of the confused rounds in kilometres.
    pub(crate) median_km: f64,
}

/// Confusion matrix of the most common countries.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Matrix {
    /// Names of the countries, most common first.
    pub(crate) countries: Vec<String>,
    /// One row per true country; one column per country of the pin and one for all others.
    pub(crate) counts: Vec<Vec<usize>>,
}

/// Accuracy of one cell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CellTally {
    /// S2 token.
    pub(crate) token: String,
    /// S2 level.
    pub(crate) level: u64,
    /// Description of its mean location.
    pub(crate) place: String,
    /// Number of training places in the cell.
    pub(crate) places: u32,
    /// Number of cells with more places.
    pub(crate) rank: usize,
    /// Rounds with this true cell.
    pub(crate) rounds: usize,
    /// Rounds with this true cell for which it was the most likely.
    pub(crate) right: usize,
    /// Rounds with another true cell for which it was the most likely.
    pub(crate) wrongly_guessed: usize,
    /// Median error of the rounds with this true cell in kilometres.
    pub(crate) median_km: Option<f64>,
    /// Descriptions of the cells predicted instead and their counts, most common first.
    pub(crate) instead: Vec<(String, usize)>,
}

/// A quartile of the cells by size.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct SizeClass {
    /// Minimum number of places in a cell.
    pub(crate) from: u32,
    /// Maximum number of places in a cell.
    pub(crate) to: u32,
    /// Number of cells.
    pub(crate) cells: usize,
    /// Rounds whose true cell is in this class.
    pub(crate) rounds: usize,
    /// Percentage of those rounds whose true cell was the most likely.
    pub(crate) right: Option<f64>,
    /// Median error of those rounds in kilometres.
    pub(crate) median_km: Option<f64>,
}

/// All statistics of the error analysis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Findings {
    /// Number of rounds.
    pub(crate) n: usize,
    /// The worst rounds, worst first.
    pub(crate) worst: Vec<WorstRound>,
    /// The most common confusions of countries.
    pub(crate) confusions: Vec<Confusion>,
    /// Confusion matrix of the most common countries.
    pub(crate) matrix: Matrix,
    /// Cells with at least three rounds, least accurate first.
    pub(crate) least_correct: Vec<CellTally>,
    /// Cells that were most often predicted wrongly.
    pub(crate) most_wrongly_guessed: Vec<CellTally>,
    /// Quartiles of the cells by size, smallest first.
    pub(crate) by_size: Vec<SizeClass>,
}

/// Computes the statistics over round results.
pub(crate) fn findings(table: &CellTable, rounds: &[Vec<&Sample>], results: &[RoundResult]) -> Findings {
    let countries = countries(results);
    let cell_counts = cell_counts(table, results);
    let first = |mut cells: Vec<&CellCounts>, order: &dyn Fn(&CellCounts, &CellCounts) -> Ordering| -> Vec<CellTally> {
        cells.sort_by(|a, b| order(a, b));
        cells.into_iter().take(TOP_COUNT).map(|cell| cell.to_tally(table)).collect()
    };
    let share = |cell: &CellCounts| cell.right as f64 / cell.km.len() as f64;
    let ranked = cell_counts.iter().filter(|cell| cell.km.len() >= MIN_ROUNDS).collect();
    let least_correct = first(ranked, &|a, b| share(a).total_cmp(&share(b)).then(b.km.len().cmp(&a.km.len())));
    let wrong = cell_counts.iter().filter(|cell| cell.wrongly_guessed > 0).collect();
    let most_wrongly_guessed = first(wrong, &|a, b| b.wrongly_guessed.cmp(&a.wrongly_guessed));
    Findings {
        n: results.len(),
        worst: worst(table, rounds, results),
        confusions: confusions(&countries),
        matrix: matrix(&countries),
        least_correct,
        most_wrongly_guessed,
        by_size: by_size(table, results),
    }
}

fn worst(table: &CellTable, rounds: &[Vec<&Sample>], results: &[RoundResult]) -> Vec<WorstRound> {
    let mut order: Vec<usize> = (0..results.len()).collect();
    order.sort_by(|a, b| results[*b].error_km().total_cmp(&results[*a].error_km()));
    let worst = |i: usize| {
        let result = &results[i];
        WorstRound {
            files: rounds[i].iter().map(|sample| sample.row.file.clone()).collect(),
            truth: result.truth,
            truth_place: place::describe(result.truth).description,
            guess: result.pin.at,
            guess_place: place::describe(result.pin.at).description,
            km: result.error_km(),
            points: result.points(),
            cell: table.cells[result.top.0].token.clone(),
            p: result.top.1,
            p_truth: result.cell.log_p.exp(),
            rank_of_truth: result.cell.rank,
        }
    };
    order.into_iter().take(TOP_COUNT).map(worst).collect()
}

/// True country, country of the pin, and error in kilometres of each round.
type Countries = Vec<(&'static str, &'static str, f64)>;

fn countries(results: &[RoundResult]) -> Countries {
    let name = |place| countries::of(place).map_or(AT_SEA, |country| country.name);
    results.par_iter().map(|a| (name(a.truth), name(a.pin.at), a.error_km())).collect()
}

/// Number of rounds by country, most common first; ties are ordered by name.
fn countries_by_count(countries: &Countries) -> Vec<(&'static str, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    countries.iter().for_each(|(truth, ..)| *counts.entry(truth).or_default() += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    counts
}

fn confusions(countries: &Countries) -> Vec<Confusion> {
    let of: BTreeMap<&str, usize> = countries_by_count(countries).into_iter().collect();
    let mut pairs: BTreeMap<(&str, &str), Vec<f64>> = BTreeMap::new();
    for (truth, guess, km) in countries.iter().filter(|(truth, guess, _)| truth != guess) {
        pairs.entry((truth, guess)).or_default().push(*km);
    }
    let confusion = |((truth, guess), km): ((&str, &str), Vec<f64>)| Confusion {
        truth: truth.to_owned(),
        guess: guess.to_owned(),
        n: km.len(),
        of: of.get(truth).copied().unwrap_or_default(),
        median_km: median(km).unwrap_or_default(),
    };
    let mut confusions: Vec<Confusion> = pairs.into_iter().map(confusion).collect();
    confusions.sort_by_key(|confusion| std::cmp::Reverse(confusion.n));
    confusions.truncate(2 * TOP_COUNT);
    confusions
}

fn matrix(countries: &Countries) -> Matrix {
    let names: Vec<&str> = countries_by_count(countries).into_iter().map(|(name, _)| name).take(MATRIX_SIZE).collect();
    let place = |name: &str| names.iter().position(|other| *other == name);
    let mut counts = vec![vec![0; names.len() + 1]; names.len()];
    for (truth, guess, _) in countries {
        if let Some(row) = place(truth) {
            counts[row][place(guess).unwrap_or(names.len())] += 1;
        }
    }
    Matrix { countries: names.into_iter().map(str::to_owned).collect(), counts }
}

/// Counts of one cell.
#[derive(Clone, Default)]
struct CellCounts {
    cell: usize,
    right: usize,
    wrongly_guessed: usize,
    km: Vec<f64>,
    instead: BTreeMap<usize, usize>,
}

/// Counts of each cell, in the order of the table.
fn cell_counts(table: &CellTable, results: &[RoundResult]) -> Vec<CellCounts> {
    let mut cell_counts: Vec<CellCounts> =
        (0..table.cells.len()).map(|cell| CellCounts { cell, ..CellCounts::default() }).collect();
    for result in results {
        let (truth, guess) = (result.cell.index, result.top.0);
        cell_counts[truth].km.push(result.error_km());
        if truth == guess {
            cell_counts[truth].right += 1;
        } else {
            cell_counts[guess].wrongly_guessed += 1;
            *cell_counts[truth].instead.entry(guess).or_default() += 1;
        }
    }
    cell_counts
}

impl CellCounts {
    fn to_tally(&self, table: &CellTable) -> CellTally {
        let cell = &table.cells[self.cell];
        let description = |i: usize| place::describe(table.cells[i].at).description;
        let mut instead: Vec<(usize, usize)> = self.instead.iter().map(|(cell, n)| (*cell, *n)).collect();
        instead.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        CellTally {
            token: cell.token.clone(),
            level: cell.level,
            place: description(self.cell),
            places: cell.count,
            rank: table.cells.iter().filter(|other| other.count > cell.count).count(),
            rounds: self.km.len(),
            right: self.right,
            wrongly_guessed: self.wrongly_guessed,
            median_km: median(self.km.clone()),
            instead: instead.into_iter().take(3).map(|(cell, n)| (description(cell), n)).collect(),
        }
    }
}

fn by_size(table: &CellTable, results: &[RoundResult]) -> Vec<SizeClass> {
    let mut order: Vec<usize> = (0..table.cells.len()).collect();
    order.sort_by_key(|i| table.cells[*i].count);
    let quarter = |cells: &[usize]| {
        let mut km = Vec::new();
        let mut right = 0;
        for result in results.iter().filter(|result| cells.contains(&result.cell.index)) {
            km.push(result.error_km());
            right += usize::from(result.cell.rank == 0);
        }
        SizeClass {
            from: table.cells[cells[0]].count,
            to: table.cells[cells[cells.len() - 1]].count,
            cells: cells.len(),
            rounds: km.len(),
            right: (!km.is_empty()).then(|| 100.0 * right as f64 / km.len() as f64),
            median_km: median(km),
        }
    };
    order.chunks(order.len().div_ceil(4).max(1)).map(quarter).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::index::Row;
    use crate::eval::metrics;
    use landfall_model::cells::{Cell, leaf};

    pub(in crate::eval::analyse) const TOWNS: [(f64, f64); 4] = [(48.5, 2.5), (45.5, 4.9), (40.4, -3.7), (52.5, 13.5)];

    /// Two French cells, a Spanish and a German one, of 10, 20, 30 and 40 places.
    pub(in crate::eval::analyse) fn table() -> CellTable {
        let cell = |(i, (lat, lng)): (usize, (f64, f64))| {
            let at = LatLng::new(lat, lng).unwrap();
            let token = leaf(at).parent(6).to_token();
            Cell { token, level: 6, at, spread_m: 1e4, count: 10 * (i as u32 + 1), country: None }
        };
        CellTable::new(TOWNS.into_iter().enumerate().map(cell).collect()).unwrap()
    }

    pub(in crate::eval::analyse) fn sample(town: usize, name: &str) -> Sample {
        let row = serde_json::json!({"set": "s", "file": name, "lat": "", "lng": "", "iso2": "FR", "group": name,
            "split": "dev"});
        let at = LatLng::new(TOWNS[town].0, TOWNS[town].1).ok();
        Sample { row: Row { at, ..serde_json::from_value(row).unwrap() }, variants: Vec::new() }
    }

    /// Results of a confident head for pairs of true and predicted town.
    pub(in crate::eval::analyse) fn results(table: &CellTable, pairs: &[(usize, usize)]) -> Vec<RoundResult> {
        let logits = |predicted: usize| vec![(0..4).map(|i| if i == predicted { 9.0 } else { 0.0 }).collect()];
        let truth = |town: usize| LatLng::new(TOWNS[town].0, TOWNS[town].1).unwrap();
        let rounds: Vec<_> = pairs.iter().map(|(town, predicted)| (truth(*town), logits(*predicted))).collect();
        metrics::predict(table, &rounds, 1.0)
    }

    #[test]
    fn counts_by_hand() {
        let table = table();
        // Paris: twice correct, twice Berlin. Lyon: three times Paris. Madrid: correct. Berlin: Madrid.
        let pairs = [(0, 0), (0, 0), (0, 3), (0, 3), (1, 0), (1, 0), (1, 0), (2, 2), (3, 2)];
        let samples: Vec<Sample> = pairs.iter().enumerate().map(|(i, p)| sample(p.0, &i.to_string())).collect();
        let rounds: Vec<Vec<&Sample>> = samples.iter().map(|sample| vec![sample]).collect();
        let findings = findings(&table, &rounds, &results(&table, &pairs));

        assert_eq!((findings.n, findings.worst.len()), (9, 9));
        assert_eq!(findings.worst[0].files, [PathBuf::from("8")]); // Berlin to Madrid is the longest distance
        assert_eq!((findings.worst[0].cell.as_str(), findings.worst[0].rank_of_truth), (&*table.cells[2].token, 3));
        assert!((findings.worst[0].km - 1870.0).abs() < 30.0 && findings.worst[0].p > 0.99);

        let confusions: Vec<_> =
            findings.confusions.iter().map(|c| (c.truth.as_str(), c.guess.as_str(), c.n, c.of)).collect();
        assert_eq!(confusions, [("France", "Germany", 2, 7), ("Germany", "Spain", 1, 1)]);
        assert_eq!(findings.matrix.countries, ["France", "Germany", "Spain"]);
        assert_eq!(findings.matrix.counts, [[5, 2, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]]);

        // Berlin and Madrid have fewer than three rounds; Lyon is never correct, Paris half of the time.
        let least: Vec<_> = findings.least_correct.iter().map(|cell| (cell.right, cell.rounds)).collect();
        assert_eq!(least, [(0, 3), (2, 4)]);
        assert!(findings.least_correct[0].place.ends_with("France"));
        assert_eq!(findings.least_correct[0].instead.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [3]);
        assert!(findings.least_correct[1].instead[0].0.ends_with("Germany"));
        let wrongly: Vec<_> = findings.most_wrongly_guessed.iter().map(|c| (c.wrongly_guessed, c.rank)).collect();
        assert_eq!(wrongly, [(3, 3), (2, 0), (1, 1)]);

        let sizes: Vec<_> = findings.by_size.iter().map(|class| (class.to, class.rounds, class.right)).collect();
        assert_eq!(sizes, [(10, 4, Some(50.0)), (20, 3, Some(0.0)), (30, 1, Some(100.0)), (40, 1, Some(0.0))]);
    }

    #[test]
    fn rare_countries_are_counted_as_others() {
        let names = ["A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "M", "N"];
        let mut countries: Countries = names.iter().flat_map(|name| [(*name, *name, 0.0); 2]).collect();
        countries.extend([("rare", "A", 1.0), ("A", "rare", 1.0)]);
        let matrix = matrix(&countries);
        assert_eq!((matrix.countries.len(), matrix.countries[0].as_str()), (MATRIX_SIZE, "A"));
        assert_eq!(matrix.counts[0][MATRIX_SIZE], 1);
        assert_eq!(matrix.counts.iter().flatten().sum::<usize>(), 2 * MATRIX_SIZE + 1);
    }
}
