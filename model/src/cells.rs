//! The cell table: the classes of the classifier, each an S2 cell with statistics of the training places in it.

use s2::cellid::CellID;
use serde::{Deserialize, Serialize};

use crate::latlng::{EARTH_RADIUS_M, LatLng};

/// A class of the classifier: an [S2 cell](https://s2geometry.io) and the training places in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// S2 token of the cell, such as `47f4`.
    pub token: String,
    /// S2 level of the cell, 0 (a sixth of the earth) to 30 (a square centimetre).
    pub level: u64,
    /// Mean location of the places in the cell, which is a better guess than the centre of the cell.
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
///
/// ```
/// use landfall_model::{Cell, CellTable, LatLng};
///
/// let at = LatLng::new(45.9, 4.7)?;
/// let lyon = Cell { token: "47f4".into(), level: 5, at, spread_m: 20_000.0, count: 7, country: Some("FR".into()) };
/// let table = CellTable::new(vec![lyon])?;
/// assert_eq!(table.containing(at), Some(0));
/// assert_eq!(table.nearest(LatLng::new(-33.7, 150.8)?), Some(0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "CellsFile", into = "CellsFile")]
pub struct CellTable {
    /// The cells, in the order of the logits.
    pub cells: Vec<Cell>,
    vectors: Vec<[f64; 3]>,
    by_id: Vec<(CellID, usize)>,
}

/// The format of `cells.json`.
#[derive(Clone, Serialize, Deserialize)]
struct CellsFile {
    cells: Vec<Cell>,
}

impl From<CellTable> for CellsFile {
    fn from(table: CellTable) -> Self {
        Self { cells: table.cells }
    }
}

impl TryFrom<CellsFile> for CellTable {
    type Error = InvalidCells;
    fn try_from(CellsFile { cells }: CellsFile) -> Result<Self, InvalidCells> {
        Self::new(cells)
    }
}

/// Why cells do not make a [`CellTable`].
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidCells {
    /// Not an S2 token.
    #[error("`{0}` is not the token of an S2 cell")]
    Token(String),
    /// A mean location that is not on earth, a spread that is not a length, or a level that is not the token's.
    #[error("cell {0} has an invalid mean location, spread or level")]
    Numbers(String),
    /// Two cells overlap.
    #[error("cells {0} and {1} overlap")]
    Overlap(String, String),
}

/// Maximum spread in metres: half of the circumference of the earth, and a little for rounding.
const MAX_SPREAD_M: f64 = 2.01e7;

impl CellTable {
    /// A table of these cells, in the order of the logits.
    ///
    /// # Errors
    /// When a token is invalid, a number is out of range, or two cells overlap.
    pub fn new(cells: Vec<Cell>) -> Result<Self, InvalidCells> {
        let mut by_id = Vec::with_capacity(cells.len());
        for (i, cell) in cells.iter().enumerate() {
            let is_token = (1..=16).contains(&cell.token.len()) && cell.token.bytes().all(|b| b.is_ascii_hexdigit());
            let id = if is_token { CellID::from_token(&cell.token) } else { CellID(0) };
            if !id.is_valid() {
                return Err(InvalidCells::Token(cell.token.chars().take(16).collect()));
            }
            let is_on_earth = LatLng::new(cell.at.lat, cell.at.lng).is_ok() && cell.at.lng.abs() <= 180.0;
            let is_length = (0.0..=MAX_SPREAD_M).contains(&cell.spread_m);
            if !is_on_earth || !is_length || id.level() != cell.level {
                return Err(InvalidCells::Numbers(cell.token.clone()));
            }
            by_id.push((id, i));
        }
        by_id.sort_by_key(|(id, _)| id.0);
        if let Some(pair) = by_id.windows(2).find(|pair| pair[0].0.intersects(&pair[1].0)) {
            return Err(InvalidCells::Overlap(cells[pair[0].1].token.clone(), cells[pair[1].1].token.clone()));
        }
        let vectors = cells.iter().map(|cell| cell.at.to_unit_vector()).collect();
        Ok(Self { cells, vectors, by_id })
    }

    /// Unit vectors of the cells' mean locations.
    pub fn vectors(&self) -> &[[f64; 3]] {
        &self.vectors
    }

    /// Index of the cell that contains this location, if any does.
    pub fn containing(&self, location: LatLng) -> Option<usize> {
        let leaf = leaf(location);
        let after = self.by_id.partition_point(|(id, _)| id.0 <= leaf.0);
        // Cells do not overlap, so only the neighbours in id order can contain the leaf.
        let near = &self.by_id[after.saturating_sub(1)..(after + 1).min(self.by_id.len())];
        near.iter().find(|(id, _)| id.contains(&leaf)).map(|(_, i)| *i)
    }

    /// Index of the cell whose mean location is nearest to this location. `None` in an empty table.
    pub fn nearest(&self, location: LatLng) -> Option<usize> {
        let v = location.to_unit_vector();
        let closeness = |i: &usize| dot(self.vectors[*i], v);
        (0..self.vectors.len()).max_by(|a, b| closeness(a).total_cmp(&closeness(b)))
    }

    /// For each cell the index of its ancestor at S2 level `level` among the distinct ancestors, and the number of
    /// those. Cells coarser than `level` are their own ancestor.
    pub fn ancestors(&self, level: u64) -> (Vec<usize>, usize) {
        let ancestor = |id: &CellID| if id.level() > level { id.parent(level) } else { *id };
        let mut distinct: Vec<u64> = self.by_id.iter().map(|(id, _)| ancestor(id).0).collect();
        distinct.dedup(); // the descendants of a cell are adjacent in the order of ids
        let mut of_cell = vec![0; self.cells.len()];
        for (id, i) in &self.by_id {
            of_cell[*i] = distinct.binary_search(&ancestor(id).0).unwrap_or_default();
        }
        (of_cell, distinct.len())
    }
}

/// The S2 leaf cell that contains a location.
pub fn leaf(location: LatLng) -> CellID {
    s2::latlng::LatLng::from_degrees(location.lat, location.lng).into()
}

/// Great-circle distance in metres between two unit vectors.
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
    fn invalid_cells_are_refused() {
        assert!(matches!(CellTable::new(vec![cell(4, 45.0, 5.0), cell(6, 45.0, 5.0)]), Err(InvalidCells::Overlap(..))));
        let mut bad = cell(4, 45.0, 5.0);
        bad.token = "zz".into();
        assert_eq!(CellTable::new(vec![bad]).unwrap_err(), InvalidCells::Token("zz".into()));
        for token in ["", "+47f4", "0000000000000000001", "47f4é", "X", "0"] {
            let bad = Cell { token: token.into(), ..cell(4, 45.0, 5.0) };
            assert!(matches!(CellTable::new(vec![bad]), Err(InvalidCells::Token(_))), "{token}");
        }
        for spread_m in [f64::NAN, f64::INFINITY, 1e300, -1.0] {
            let bad = Cell { spread_m, ..cell(4, 45.0, 5.0) };
            assert!(matches!(CellTable::new(vec![bad]), Err(InvalidCells::Numbers(_))), "{spread_m}");
        }
        for (lat, lng) in [(91.0, 5.0), (45.0, 1e300), (f64::NAN, 5.0)] {
            let bad = Cell { at: LatLng { lat, lng }, ..cell(4, 45.0, 5.0) };
            assert!(matches!(CellTable::new(vec![bad]), Err(InvalidCells::Numbers(_))), "{lat}, {lng}");
        }
    }

    #[test]
    fn json_round_trip() {
        let table = table();
        let again: CellTable = serde_json::from_str(&serde_json::to_string(&table).unwrap()).unwrap();
        assert_eq!(again.cells, table.cells);
    }

    proptest! {
        #[test]
        fn containing_agrees_with_a_linear_search(lat in -90.0..90.0f64, lng in -180.0..180.0f64) {
            let (table, location) = (table(), LatLng::new(lat, lng).unwrap());
            let slow = table.cells.iter().position(|c| CellID::from_token(&c.token).contains(&leaf(location)));
            prop_assert_eq!(table.containing(location), slow);
        }

        #[test]
        fn arc_equals_haversine_distance(a in -89.0..89.0f64, b in -180.0..180.0f64, c in -89.0..89.0f64, d in -180.0..180.0f64) {
            let (p, q) = (LatLng::new(a, b).unwrap(), LatLng::new(c, d).unwrap());
            prop_assert!((arc_m(p.to_unit_vector(), q.to_unit_vector()) - p.distance_m(q)).abs() < 1.0);
        }
    }
}
