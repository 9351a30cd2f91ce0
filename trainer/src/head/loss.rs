//! Training targets of a head: soft labels over the cells, and optional auxiliary targets (coarser cells, countries,
//! other partitions) and lost points. Labels are computed per batch.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use landfall_model::CellTable;
use landfall_model::cells::arc_m;
use rayon::prelude::*;

use crate::cells::soft_labels::{Label, SoftLabels};
use crate::data::index::Row;
use crate::head::recipe::Recipe;
use crate::head::training_data::TrainingData;

/// The targets of a training run, from which the labels of a batch are computed.
pub(crate) struct Objective<'a> {
    pub(crate) table: &'a CellTable,
    /// Auxiliary targets.
    pub(crate) auxiliary: Vec<AuxiliaryTarget<'a>>,
    soft_labels: SoftLabels<'a>,
    country_weight: f32,
    set_weights: BTreeMap<String, f32>,
    smoothing: f32,
    risk_length_m: Option<f64>,
}

/// An auxiliary target: coarser cells, countries, or another partition.
pub(crate) struct AuxiliaryTarget<'a> {
    /// The class that each cell belongs to.
    pub(crate) class_of_cell: Vec<usize>,
    /// Number of classes.
    pub(crate) classes: usize,
    /// Weight of its cross-entropy.
    pub(crate) loss: f32,
    /// Weight of its log-probability in the logits of the cells at inference.
    pub(crate) read_out: f32,
    /// Whether its probabilities are sums of the cells' probabilities instead of the output of a separate layer.
    pub(crate) is_sum_of_cells: bool,
    source: AuxiliarySource<'a>,
}

/// Where the labels of an auxiliary target come from.
enum AuxiliarySource<'a> {
    /// Sums of the cells' labels.
    Sums,
    /// The row's country, one class per country; sums of the cells' labels for rows without one.
    Country(Vec<Option<String>>),
    /// The soft labels of another partition.
    Partition(SoftLabels<'a>),
}

/// The labels of a batch of `N` pictures, in row-major order. Each row sums to the weight of the picture.
pub(crate) struct LabelBatch {
    /// `[N, cells]`.
    pub(crate) cells: Vec<f32>,
    /// `[N, classes]` of each auxiliary target.
    pub(crate) auxiliary: Vec<Vec<f32>>,
    /// `[N, cells]`: the share of the points that a guess at each cell would lose, times the weight.
    pub(crate) risk: Option<Vec<f32>>,
}

impl<'a> Objective<'a> {
    /// The targets that a recipe defines.
    ///
    /// # Errors
    /// When a coarse level has only one class.
    pub(crate) fn new(data: &'a TrainingData, recipe: &Recipe) -> Result<Self> {
        let table = &data.table;
        let (hierarchy, staggered) = (&recipe.hierarchy, &recipe.staggered);
        let (loss, is_sum_of_cells) = (hierarchy.loss, hierarchy.sums);
        // Sums add no information to the logits of the cells.
        let read_out = if is_sum_of_cells { 0.0 } else { hierarchy.read_out };
        let mut auxiliary = Vec::new();
        for level in &hierarchy.levels {
            let (class_of_cell, classes) = table.ancestors(*level);
            if classes < 2 {
                bail!(
                    "hierarchy.levels: level {level} has nothing to learn, because one of its cells contains all cells; \
                    remove it"
                );
            }
            auxiliary.push(AuxiliaryTarget {
                class_of_cell,
                classes,
                loss,
                read_out,
                is_sum_of_cells,
                source: AuxiliarySource::Sums,
            });
        }
        if hierarchy.country {
            let mut codes: Vec<Option<String>> = table.cells.iter().map(|cell| cell.country.clone()).collect();
            codes.sort();
            codes.dedup();
            let class = |code: &Option<String>| codes.binary_search(code).unwrap_or_default();
            let class_of_cell = table.cells.iter().map(|cell| class(&cell.country)).collect();
            let (classes, source) = (codes.len(), AuxiliarySource::Country(codes));
            auxiliary.push(AuxiliaryTarget { class_of_cell, classes, loss, read_out, is_sum_of_cells, source });
        }
        for partition in &data.staggered {
            let nearest_cell = |at| partition.containing(at).or_else(|| partition.nearest(at)).unwrap_or_default();
            auxiliary.push(AuxiliaryTarget {
                class_of_cell: table.cells.iter().map(|cell| nearest_cell(cell.at)).collect(),
                classes: partition.cells.len(),
                loss: staggered.loss,
                read_out: staggered.read_out,
                is_sum_of_cells: false,
                source: AuxiliarySource::Partition(SoftLabels::new(partition, recipe.label.tau_km)?),
            });
        }
        Ok(Self {
            table,
            auxiliary,
            soft_labels: SoftLabels::new(table, recipe.label.tau_km)?,
            country_weight: recipe.label.country_weight,
            set_weights: recipe.label.set_weights.clone(),
            smoothing: recipe.label.smoothing,
            risk_length_m: (recipe.km_loss.weight > 0.0).then_some(recipe.km_loss.length_km * 1000.0),
        })
    }

    /// The labels of these rows, without smoothing. A row without a label has weight 0.
    pub(crate) fn labels(&self, rows: &[&Row]) -> LabelBatch {
        let cells = self.table.cells.len();
        let labels: Vec<Option<Label>> = rows.iter().map(|row| self.soft_labels.label(row.at, &row.iso2)).collect();
        let mut cell_labels = self.soft_labels.batch(&labels);
        let mut auxiliary: Vec<_> =
            self.auxiliary.iter().map(|target| target.labels(rows, &cell_labels, cells)).collect();
        let mut risk = self.risk_length_m.map(|length_m| self.risk(rows, length_m));
        let weights: Vec<f32> = rows.iter().zip(&labels).map(|(row, label)| self.weight(row, label.as_ref())).collect();
        let apply_weights = |values: &mut Vec<f32>| {
            let width = values.len() / rows.len().max(1);
            for (row, weight) in values.chunks_exact_mut(width.max(1)).zip(&weights) {
                row.iter_mut().for_each(|x| *x *= weight);
            }
        };
        auxiliary.iter_mut().chain([&mut cell_labels]).chain(&mut risk).for_each(apply_weights);
        LabelBatch { cells: cell_labels, auxiliary, risk }
    }

    /// Total label mass of these rows in each cell.
    pub(crate) fn label_mass(&self, rows: &[&Row]) -> Vec<f64> {
        let mut mass = vec![0.0; self.table.cells.len()];
        for rows in rows.chunks(512) {
            for row in self.labels(rows).cells.chunks_exact(mass.len()) {
                mass.iter_mut().zip(row).for_each(|(mass, y)| *mass += f64::from(*y));
            }
        }
        mass
    }

    fn weight(&self, row: &Row, label: Option<&Label>) -> f32 {
        let of_label = match label {
            Some(Label::Place(_)) => 1.0,
            Some(Label::Country(_)) => self.country_weight,
            None => 0.0,
        };
        of_label * self.set_weights.get(&row.set).unwrap_or(&1.0)
    }

    /// Share of the points lost by a guess at each cell, `1 - exp(-d / length)`; 0 for rows without coordinates.
    fn risk(&self, rows: &[&Row], length_m: f64) -> Vec<f32> {
        let cells = self.table.cells.len();
        let mut risk = vec![0.0; rows.len() * cells];
        risk.par_chunks_mut(cells).zip(rows).for_each(|(risk, row)| {
            let Some(v) = row.at.map(landfall_model::LatLng::to_unit_vector) else { return };
            let lost = |u: &[f64; 3]| -(-arc_m(*u, v) / length_m).exp_m1() as f32;
            risk.iter_mut().zip(self.table.vectors()).for_each(|(risk, u)| *risk = lost(u));
        });
        risk
    }

    /// Applies label smoothing and divides by the total weight of the batch.
    pub(crate) fn smooth_and_normalise(&self, batch: &mut LabelBatch) {
        let cells = self.table.cells.len();
        let total = batch.cells.iter().sum::<f32>().max(1e-9);
        let smooth = |values: &mut [f32], width: usize| {
            for row in values.chunks_exact_mut(width) {
                let even = row.iter().sum::<f32>() * self.smoothing / width as f32;
                row.iter_mut().for_each(|y| *y = (*y * (1.0 - self.smoothing) + even) / total);
            }
        };
        smooth(&mut batch.cells, cells);
        for (values, target) in batch.auxiliary.iter_mut().zip(&self.auxiliary) {
            smooth(values, target.classes);
        }
        batch.risk.iter_mut().flatten().for_each(|risk| *risk /= total);
    }
}

impl AuxiliaryTarget<'_> {
    fn labels(&self, rows: &[&Row], cell_labels: &[f32], cells: usize) -> Vec<f32> {
        let known = match &self.source {
            AuxiliarySource::Partition(soft_labels) => {
                let labels: Vec<Option<Label>> = rows.iter().map(|row| soft_labels.label(row.at, &row.iso2)).collect();
                return soft_labels.batch(&labels);
            }
            AuxiliarySource::Country(codes) => Some(codes),
            AuxiliarySource::Sums => None,
        };
        let mut sums = vec![0.0; rows.len() * self.classes];
        for ((sums, cell_labels), row) in
            sums.chunks_exact_mut(self.classes).zip(cell_labels.chunks_exact(cells)).zip(rows)
        {
            let class = known.and_then(|codes| codes.iter().position(|code| code.as_deref() == Some(&*row.iso2)));
            match class {
                Some(class) => sums[class] = 1.0,
                None => self.class_of_cell.iter().zip(cell_labels).for_each(|(class, y)| sums[*class] += y),
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::training_data::tests::{country, place, training_data};

    fn row_sums(values: &[f32], width: usize) -> Vec<f32> {
        values.chunks(width).map(|row| (row.iter().sum::<f32>() * 1e4).round() / 1e4).collect()
    }

    #[test]
    fn labels_of_a_row_sum_to_its_weight() {
        let mut recipe = Recipe::default();
        recipe.hierarchy.levels = vec![2];
        recipe.hierarchy.country = true;
        recipe.km_loss.weight = 0.5;
        let mut data = training_data(&[(48.85, 2.35, "FR"), (45.76, 4.83, "FR"), (35.68, 139.76, "JP")]);
        data.staggered.push(data.table.clone());
        let objective = Objective::new(&data, &recipe).unwrap();
        let rows = [place(48.85, 2.35, "FR"), country("JP"), country("BR")];
        let mut batch = objective.labels(&rows.iter().collect::<Vec<_>>());
        assert_eq!(row_sums(&batch.cells, 3), [1.0, 0.5, 0.0]);
        assert_eq!(batch.auxiliary.len(), 3);
        for (values, target) in batch.auxiliary.iter().zip(&objective.auxiliary) {
            assert_eq!(row_sums(values, target.classes)[..2], [1.0, 0.5]);
        }
        let mass = objective.label_mass(&rows.iter().collect::<Vec<_>>());
        assert!((mass.iter().sum::<f64>() - 1.5).abs() < 1e-5, "{mass:?}");
        let risk = batch.risk.clone().unwrap();
        assert!(risk[0] < 1e-3 && risk[1] > 0.2 && risk[2] > 0.99, "{risk:?}");
        assert_eq!(risk[3..6], [0.0; 3], "a row with only a country has no risk");
        objective.smooth_and_normalise(&mut batch);
        assert_eq!(row_sums(&batch.cells, 3), [0.6667, 0.3333, 0.0]);
        assert!(batch.cells[2] > 0.02, "smoothed");
    }

    #[test]
    fn rows_of_a_weighted_set_sum_to_its_weight() {
        let mut recipe = Recipe::default();
        recipe.label.set_weights = [("dash".to_owned(), 0.25)].into();
        let data = training_data(&[(48.85, 2.35, "FR"), (35.68, 139.76, "JP")]);
        let objective = Objective::new(&data, &recipe).unwrap();
        let dash = |row: Row| Row { set: "dash".into(), ..row };
        let rows = [place(48.85, 2.35, "FR"), dash(place(48.85, 2.35, "FR")), dash(country("JP"))];
        let batch = objective.labels(&rows.iter().collect::<Vec<_>>());
        assert_eq!(row_sums(&batch.cells, 2), [1.0, 0.25, 0.125]);
    }
}
