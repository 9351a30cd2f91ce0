//! Soft labels: target distributions over cells.

use anyhow::{Result, bail};
use landfall_model::LatLng;
use landfall_model::cells::{CellTable, arc_m};
use rayon::prelude::*;

/// The known location of an image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Label {
    /// Coordinates.
    Place(LatLng),
    /// Only the country, as an index into the countries that have cells.
    Country(usize),
}

/// Computes soft labels over the cells of a table.
pub(crate) struct SoftLabels<'a> {
    table: &'a CellTable,
    tau_m: f64,
    countries: Vec<(String, Vec<f32>)>,
}

impl<'a> SoftLabels<'a> {
    /// Creates labels whose mass decays exponentially with distance, with the length scale `tau_km` in kilometres.
    ///
    /// # Errors
    /// If `tau_km` is not a positive number.
    pub(crate) fn new(table: &'a CellTable, tau_km: f64) -> Result<Self> {
        if !(tau_km.is_finite() && tau_km > 0.0) {
            bail!("the length scale of soft labels must be a positive number of kilometres, not {tau_km}");
        }
        let mut countries: Vec<(String, Vec<f32>)> = Vec::new();
        for code in table.cells.iter().filter_map(|cell| cell.country.as_ref()) {
            if !countries.iter().any(|(known, _)| known == code) {
                countries.push((code.clone(), country_row(table, code)));
            }
        }
        Ok(Self { table, tau_m: tau_km * 1000.0, countries })
    }

    /// The label of an image with these coordinates, or in this country. `None` if the coordinates are unknown and the
    /// country has no cell.
    pub(crate) fn label(&self, at: Option<LatLng>, iso2: &str) -> Option<Label> {
        let country = || self.countries.iter().position(|(code, _)| code == iso2).map(Label::Country);
        at.map(Label::Place).or_else(country)
    }

    /// Computes the labels of a batch: one row of probabilities over cells per image, all zeros without a label.
    pub(crate) fn batch(&self, labels: &[Option<Label>]) -> Vec<f32> {
        let cells = self.table.cells.len();
        let mut rows = vec![0.0; labels.len() * cells];
        rows.par_chunks_mut(cells).zip(labels).for_each(|(row, label)| match label {
            Some(Label::Place(at)) => self.fill_place(*at, row),
            Some(Label::Country(i)) => row.copy_from_slice(&self.countries[*i].1),
            None => {}
        });
        rows
    }

    /// `exp(-(d - d_min) / tau)` of the distances to the cells' mean locations, normalised.
    fn fill_place(&self, at: LatLng, row: &mut [f32]) {
        let v = at.to_unit_vector();
        let distances: Vec<f64> = self.table.vectors().iter().map(|u| arc_m(*u, v)).collect();
        let nearest = distances.iter().copied().fold(f64::INFINITY, f64::min);
        // Beyond 20 tau a cell would get less than 10^-8 of the mass.
        let mass = |d: f64| if d - nearest > 20.0 * self.tau_m { 0.0 } else { (-(d - nearest) / self.tau_m).exp() };
        let sum: f64 = distances.iter().map(|d| mass(*d)).sum();
        row.iter_mut().zip(distances).for_each(|(y, d)| *y = (mass(d) / sum) as f32);
    }
}

/// A distribution over the cells of a country, proportional to their number of places.
fn country_row(table: &CellTable, code: &str) -> Vec<f32> {
    let mass = |cell: &landfall_model::cells::Cell| {
        if cell.country.as_deref() == Some(code) { f64::from(cell.count.max(1)) } else { 0.0 }
    };
    let sum: f64 = table.cells.iter().map(mass).sum();
    table.cells.iter().map(|cell| (mass(cell) / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::cells::{Cell, leaf};

    fn table() -> CellTable {
        let cell = |lat: f64, lng: f64, count: u32, country: &str| {
            let at = LatLng::new(lat, lng).unwrap();
            let token = leaf(at).parent(6).to_token();
            Cell { token, level: 6, at, spread_m: 1e4, count, country: Some(country.into()) }
        };
        // One degree on the equator is 111.19 km.
        CellTable::new(vec![cell(0.0, 10.0, 30, "GA"), cell(0.0, 12.0, 10, "GA"), cell(0.0, 30.0, 5, "UG")]).unwrap()
    }

    #[test]
    fn labels_match_a_manual_calculation() {
        let table = table();
        let soft_labels = SoftLabels::new(&table, 111.194_926_6).unwrap();
        let y = soft_labels.batch(&[LatLng::new(0.0, 10.5).ok().map(Label::Place)]);
        // 0.5 and 1.5 degrees away: one tau farther, so e^-1 of the mass; 19.5 degrees: e^-19.
        let (e1, e19) = ((-1.0f64).exp(), (-19.0f64).exp());
        let sum = 1.0 + e1 + e19;
        for (y, expected) in y.iter().zip([1.0 / sum, e1 / sum, e19 / sum]) {
            assert!((f64::from(*y) - expected).abs() < 1e-6, "{y} {expected}");
        }
    }

    #[test]
    fn every_row_sums_to_one() {
        let table = table();
        let soft_labels = SoftLabels::new(&table, 200.0).unwrap();
        let far = Label::Place(LatLng::new(-80.0, -170.0).unwrap());
        let labels = [far, Label::Place(table.cells[1].at), Label::Country(0), Label::Country(1)];
        for row in soft_labels.batch(&labels.map(Some)).chunks(3) {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{row:?}");
        }
    }

    #[test]
    fn country_labels_are_proportional_to_the_places_in_each_cell() {
        let table = table();
        let soft_labels = SoftLabels::new(&table, 200.0).unwrap();
        let label = soft_labels.label(None, "GA");
        assert_eq!(soft_labels.batch(&[label, None]), [0.75, 0.25, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(soft_labels.label(None, "FR"), None);
        assert!(SoftLabels::new(&table, 0.0).is_err());
    }
}
