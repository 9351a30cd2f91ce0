//! Evaluation of a student on held-out pictures.

use std::collections::{BTreeMap, HashMap};

use anyhow::Result;
use burn::tensor::{Device, Tensor, TensorData};
use landfall_model::CellTable;
use landfall_model::preprocess::Preprocess;

use super::pictures::Cache;
use super::student::Student;
use crate::encoder::lite;
use crate::eval::metrics::{self, Report};
use crate::features::samples::{self, Sample};
use crate::head::model;

/// Held-out pictures.
pub(super) struct HeldOutSet<'a> {
    pub(super) samples: &'a [Sample],
    pub(super) cache: &'a Cache,
    pub(super) table: &'a CellTable,
    pub(super) preprocess: &'a Preprocess,
}

/// Number of pictures per forward pass.
const BLOCK: usize = 16;

impl HeldOutSet<'_> {
    /// Mean points of the best pins for single views.
    pub(super) fn points(&self, student: &Student) -> Result<f64> {
        Ok(self.reports(student)?.get(&1).map_or(0.0, |(_, report)| report.quality.geoscore))
    }

    /// Fitted temperature and quality of the student's logits, per number of views.
    pub(super) fn reports(&self, student: &Student) -> Result<BTreeMap<usize, (f64, Report)>> {
        let logits = self.logits(student)?;
        let of_file: HashMap<_, _> = self.samples.iter().map(|sample| &sample.row.file).zip(logits).collect();
        let mut reports = BTreeMap::new();
        for views in [1, 4] {
            let rounds = samples::rounds(self.samples, views).into_iter().filter(|round| round.len() == views);
            let logits = |round: Vec<&Sample>| {
                Some((round[0].row.at?, round.iter().map(|sample| of_file[&sample.row.file].clone()).collect()))
            };
            let rounds: Vec<_> = rounds.filter_map(logits).collect();
            let Some(t) = metrics::fit_temperature(self.table, &rounds) else { continue };
            let results = metrics::predict(self.table, &rounds, t);
            reports.extend(metrics::report(self.table, &results).map(|report| (views, (t, report))));
        }
        Ok(reports)
    }

    fn logits(&self, student: &Student) -> Result<Vec<Vec<f32>>> {
        let (mut reader, side, squares) =
            (self.cache.reader()?, self.preprocess.size as usize, self.preprocess.squares());
        let mut logits = Vec::with_capacity(self.samples.len());
        for start in (0..self.samples.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(self.samples.len());
            let mut patches = Vec::new();
            for i in start..end {
                patches.extend(lite::patches_of(&reader.read(i)?, self.preprocess));
            }
            let input = TensorData::new(patches, lite::patches_shape((end - start) * squares, side));
            let output = student.forward(Tensor::from_data(input, &Device::flex()), end - start);
            let output = model::to_vec(output.logits.into_data())?;
            logits.extend(output.chunks_exact(output.len() / (end - start)).map(<[f32]>::to_vec));
        }
        Ok(logits)
    }
}
