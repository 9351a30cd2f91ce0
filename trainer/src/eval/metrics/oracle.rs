//! Oracle scores: errors of a classifier that always predicts the correct cell, a lower bound set by the partition.

use landfall_model::cells::arc_m;
use landfall_model::{CellTable, LatLng};
use s2::cellid::CellID;
use serde::Serialize;

use super::errors::{Errors, errors};

/// Errors of the correct cell, for four definitions of the cell and the predicted point. The first two cover the places
/// that lie in a cell, the last two all places.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Oracle {
    /// The S2 centre of the cell that contains the place.
    pub(crate) containing_centre: Option<Errors>,
    /// The mean location of the cell that contains the place.
    pub(crate) containing_mean: Option<Errors>,
    /// The nearest mean location of any cell.
    pub(crate) nearest_mean: Errors,
    /// The nearest S2 centre of any cell, as in the original project.
    pub(crate) nearest_centre: Errors,
}

/// Oracle errors for these places; `None` if there are no places or no cells.
pub(crate) fn oracle(table: &CellTable, truths: &[LatLng]) -> Option<Oracle> {
    let centres = centres(table);
    let vectors: Vec<[f64; 3]> = centres.iter().map(|centre| centre.to_unit_vector()).collect();
    let containing = |place: &dyn Fn(usize) -> LatLng| {
        let km = |truth: &LatLng| Some(truth.distance_m(place(table.containing(*truth)?)) / 1000.0);
        errors(truths.iter().filter_map(km).collect())
    };
    let nearest = |vectors: &[[f64; 3]]| {
        let km = |truth: &LatLng| {
            let v = truth.to_unit_vector();
            vectors.iter().map(|u| arc_m(*u, v) / 1000.0).min_by(f64::total_cmp)
        };
        errors(truths.iter().filter_map(km).collect())
    };
    Some(Oracle {
        containing_centre: containing(&|i| centres[i]),
        containing_mean: containing(&|i| table.cells[i].at),
        nearest_mean: nearest(table.vectors())?,
        nearest_centre: nearest(&vectors)?,
    })
}

/// The S2 centres of a table's cells.
fn centres(table: &CellTable) -> Vec<LatLng> {
    let centre = |token: &str| {
        let centre = s2::latlng::LatLng::from(CellID::from_token(token));
        // Always valid coordinates: tokens are validated when the table is read.
        LatLng { lat: centre.lat.deg(), lng: centre.lng.deg() }
    };
    table.cells.iter().map(|cell| centre(&cell.token)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::metrics::tests::at;
    use landfall_model::cells::{Cell, leaf};

    #[test]
    fn the_four_oracles_by_hand() {
        // Face 0 of the cube is centred on (0, 0), with mean location (0, 10). The second cell is far away.
        let cell = |level: u64, of: LatLng, at: LatLng| {
            let token = leaf(of).parent(level).to_token();
            Cell { token, level, at, spread_m: 0.0, count: 1, country: None }
        };
        let far = at(0.0, 100.0);
        let table = CellTable::new(vec![cell(0, at(0.0, 1.0), at(0.0, 10.0)), cell(16, far, far)]).unwrap();
        let degree_km = 6371.0 * std::f64::consts::PI / 180.0;
        // In face 0, three degrees west of its mean and seven east of its centre.
        let oracle = oracle(&table, &[at(0.0, 7.0)]).unwrap();
        let close = |errors: &Errors, degrees: f64| (errors.median_km - degrees * degree_km).abs() < 1.0;
        assert!(close(oracle.containing_centre.as_ref().unwrap(), 7.0));
        assert!(close(oracle.containing_mean.as_ref().unwrap(), 3.0));
        assert!(close(&oracle.nearest_mean, 3.0) && close(&oracle.nearest_centre, 7.0));

        // In no cell: the first two are None, the others use the small cell 40 degrees away.
        let oracle = super::oracle(&table, &[at(0.0, 60.0)]).unwrap();
        assert!(oracle.containing_centre.is_none() && oracle.containing_mean.is_none());
        assert!(close(&oracle.nearest_mean, 40.0) && close(&oracle.nearest_centre, 40.0));

        // In face 0 but nearer to the other cell: containing and nearest cells differ.
        let crowded =
            CellTable::new(vec![cell(0, at(0.0, 1.0), at(0.0, -40.0)), cell(16, at(0.0, 50.0), at(0.0, 50.0))])
                .unwrap();
        let oracle = super::oracle(&crowded, &[at(0.0, 40.0)]).unwrap();
        assert!(close(oracle.containing_mean.as_ref().unwrap(), 80.0) && close(&oracle.nearest_mean, 10.0));
    }
}
