//! The cell table: the classes of the classifier, each an S2 cell with what was found in it.

use s2::cellid::CellID;
use serde::{Deserialize, Serialize};

use crate::latlng::{EARTH_RADIUS_M, LatLng};

/// One class: an S2 cell and the places that taught it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// S2 token, such as `47f4`.
    pub token: String,
    /// S2 level, 0 (a sixth of the earth) to 30 (a square centimetre).
    pub level: u64,
    /// Mean location of the places in the cell; a better answer than the cell's centre.
    #[serde(flatten)]
    pub at: LatLng,
    /// Root mean square distance of the places from their mean location, in metres.
    pub spread_m: f64,
    /// Number of places.
    pub count: u32,
    /// ISO 3166-1 alpha-2 code of the country most of the places are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

/// The cells of a bundle, in the order of the logits. No two of them overlap.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Cells", into = "Cells")]
pub struct CellTable {
    /// The cells, in the order of the logits.
    pub cells: Vec<Cell>,
    vectors: Vec<[f64; 3]>,
    by_id: Vec<(CellID, usize)>,
}

/// The table as `cells.json` has it.
#[derive(Clone, Serialize, Deserialize)]
struct Cells {
    cells: Vec<Cell>,
}

impl From<CellTable> for Cells {
    fn from(table: CellTable) -> Self {
        Self { cells: table.cells }
    }
}

impl TryFrom<Cells> for CellTable {
    type Error = BadCells;
    fn try_from(Cells { cells }: Cells) -> Result<Self, BadCells> {
        Self::new(cells)
    }
}

/// A table that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadCells {
    /// Not an S2 token.
    #[error("`{0}` is not the token of an S2 cell")]
    Token(String),
    /// A mean location, spread or level that makes no sense.
    #[error("cell {0} has coordinates, a spread or a level that cannot be")]
    Numbers(String),
    /// Two cells share ground.
    #[error("cells {0} and {1} overlap")]
    Overlap(String, String),
}

impl CellTable {
    /// A table of these cells.
    ///
    /// # Errors
    /// When a token is none, a number is out of range, or two cells overlap.
    pub fn new(cells: Vec<Cell>) -> Result<Self, BadCells> {
        let mut by_id = Vec::with_capacity(cells.len());
        for (i, cell) in cells.iter().enumerate() {
            let id = CellID::from_token(&cell.token);
            if !id.is_valid() {
                return Err(BadCells::Token(cell.token.clone()));
            }
            let spread_is_sane = cell.spread_m.is_finite() && cell.spread_m >= 0.0;
            if LatLng::new(cell.at.lat, cell.at.lng).is_err() || !spread_is_sane || id.level() != cell.level {
                return Err(BadCells::Numbers(cell.token.clone()));
            }
            by_id.push((id, i));
        }
        by_id.sort_by_key(|(id, _)| id.0);
        if let Some(pair) = by_id.windows(2).find(|pair| pair[0].0.intersects(&pair[1].0)) {
            return Err(BadCells::Overlap(cells[pair[0].1].token.clone(), cells[pair[1].1].token.clone()));
        }
        let vectors = cells.iter().map(|cell| cell.at.to_unit_vector()).collect();
        Ok(Self { cells, vectors, by_id })
    }

    /// Unit vectors of the cells' mean locations.
    pub fn vectors(&self) -> &[[f64; 3]] {
        &self.vectors
    }

    /// Index of the cell that contains this place.
    pub fn containing(&self, place: LatLng) -> Option<usize> {
        let leaf = leaf(place);
        let after = self.by_id.partition_point(|(id, _)| id.0 <= leaf.0);
        // Cells do not overlap, so only the neighbours in id order can contain the leaf.
        let near = &self.by_id[after.saturating_sub(1)..(after + 1).min(self.by_id.len())];
        near.iter().find(|(id, _)| id.contains(&leaf)).map(|(_, i)| *i)
    }

    /// Index of the cell whose mean location is nearest to this place. The table is never empty in a [`Bundle`](crate::bundle::Bundle).
    pub fn nearest(&self, place: LatLng) -> Option<usize> {
        let v = place.to_unit_vector();
        let closeness = |i: &usize| dot(self.vectors[*i], v);
        (0..self.vectors.len()).max_by(|a, b| closeness(a).total_cmp(&closeness(b)))
    }

    /// For each cell the index of its ancestor at `level` among the distinct ancestors, and how many there are.
    /// Cells coarser than `level` are their own ancestor.
    pub fn ancestors(&self, level: u64) -> (Vec<usize>, usize) {
        let ancestor = |id: &CellID| if id.level() > level { id.parent(level) } else { *id };
        let mut distinct: Vec<u64> = self.by_id.iter().map(|(id, _)| ancestor(id).0).collect();
        distinct.dedup(); // ids are in order, so those of one ancestor stand together
        let mut of_cell = vec![0; self.cells.len()];
        for (id, i) in &self.by_id {
            of_cell[*i] = distinct.binary_search(&ancestor(id).0).unwrap_or_default();
        }
        (of_cell, distinct.len())
    }
}

/// The S2 leaf cell of a place.
pub fn leaf(place: LatLng) -> CellID {
    s2::latlng::LatLng::from_degrees(place.lat, place.lng).into()
}

/// Distance in metres along the sphere between two unit vectors.
pub fn arc_m(a: [f64; 3], b: [f64; 3]) -> f64 {
    let chord_squared = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>();
    2.0 * EARTH_RADIUS_M * libm::asin((chord_squared.sqrt() / 2.0).min(1.0))
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cell(level: u64, lat: f64, lng: f64) -> Cell {
        let at = LatLng::new(lat, lng).unwrap();
        let token = leaf(at).parent(level).to_token();
        Cell { token, level, at, spread_m: 0.0, count: 1, country: None }
    }

    fn table() -> CellTable {
        CellTable::new(vec![cell(4, 45.0, 5.0), cell(6, -33.0, 151.0), cell(4, 40.0, -100.0), cell(2, 0.0, 20.0)])
            .unwrap()
    }

    #[test]
    fn contains_and_nearest() {
        let table = table();
        for (i, cell) in table.cells.iter().enumerate() {
            assert_eq!(table.containing(cell.at), Some(i));
            assert_eq!(table.nearest(cell.at), Some(i));
        }
        assert_eq!(table.containing(LatLng::new(70.0, -40.0).unwrap()), None);
        let (of_cell, n) = table.ancestors(3);
        assert_eq!((of_cell.len(), n), (4, 4));
    }

    #[test]
    fn refuses_overlap_and_nonsense() {
        assert!(matches!(CellTable::new(vec![cell(4, 45.0, 5.0), cell(6, 45.0, 5.0)]), Err(BadCells::Overlap(..))));
        let mut bad = cell(4, 45.0, 5.0);
        bad.token = "zz".into();
        assert_eq!(CellTable::new(vec![bad]).unwrap_err(), BadCells::Token("zz".into()));
        let mut bad = cell(4, 45.0, 5.0);
        bad.spread_m = f64::NAN;
        assert!(matches!(CellTable::new(vec![bad]), Err(BadCells::Numbers(_))));
    }

    #[test]
    fn survives_json() {
        let table = table();
        let again: CellTable = serde_json::from_str(&serde_json::to_string(&table).unwrap()).unwrap();
        assert_eq!(again.cells, table.cells);
    }

    proptest! {
        #[test]
        fn containing_agrees_with_looking_at_every_cell(lat in -90.0..90.0f64, lng in -180.0..180.0f64) {
            let (table, place) = (table(), LatLng::new(lat, lng).unwrap());
            let slow = table.cells.iter().position(|c| CellID::from_token(&c.token).contains(&leaf(place)));
            prop_assert_eq!(table.containing(place), slow);
        }

        #[test]
        fn arcs_are_distances(a in -89.0..89.0f64, b in -180.0..180.0f64, c in -89.0..89.0f64, d in -180.0..180.0f64) {
            let (p, q) = (LatLng::new(a, b).unwrap(), LatLng::new(c, d).unwrap());
            prop_assert!((arc_m(p.to_unit_vector(), q.to_unit_vector()) - p.distance_m(q)).abs() < 1.0);
        }
    }
}
