//! Credible regions as polygons.

use geo::{BooleanOps, LineString, MultiPolygon, Polygon, Rect, Simplify, Translate, unary_union};
use landfall_model::{LatLng, Posterior};
use s2::cell::Cell;
use s2::cellid::{CellID, size_ij};

use crate::photos::hints::HintedCells;

/// Masses of the regions.
const MASSES: [f64; 2] = [0.5, 0.9];
/// Tolerance in degrees when vertices are left out that cells of different sizes share: 200 m.
const TOLERANCE_DEG: f64 = 0.002;
/// Latitude beyond which a vertex is a pole.
const POLE_DEG: f64 = 89.999;

/// The smallest set of cells that holds a share of the probability.
#[derive(Clone, Debug)]
pub(crate) struct CredibleRegion {
    /// The share, 0 to 1.
    pub mass: f64,
    /// Its outline in degrees, x = longitude, y = latitude; cut at the date line.
    pub outline: MultiPolygon<f64>,
}

/// The credible regions of a posterior. `hinted` is what it was narrowed to, if it was.
pub(crate) fn credible_regions(posterior: &Posterior<'_>, hinted: Option<&HintedCells>) -> Vec<CredibleRegion> {
    let area = |i: usize| match hinted {
        Some(cells) => cells.area_of(i),
        None => vec![CellID::from_token(&posterior.table.cells[i].token)],
    };
    let region = |mass| {
        let cells: Vec<CellID> = posterior.credible_region(mass).into_iter().flat_map(area).collect();
        CredibleRegion { mass, outline: outline(&cells) }
    };
    MASSES.map(region).into()
}

/// The outline of the union of cells.
fn outline(cells: &[CellID]) -> MultiPolygon<f64> {
    // Sides get a vertex wherever the smallest cells may have a corner: else there are gaps between cells, since a side
    // is a great circle, which a longer segment on the map does not follow.
    let finest = cells.iter().map(CellID::level).max().unwrap_or_default();
    let polygons: Vec<MultiPolygon<f64>> = cells.iter().map(|cell| cut_at_date_line(polygon(*cell, finest))).collect();
    unary_union(&polygons).simplify(TOLERANCE_DEG)
}

/// The outline of a cell with vertices at the corners of its descendants at a level. Longitudes may exceed ±180 degrees.
fn polygon(cell: CellID, level: u64) -> Polygon<f64> {
    let (face, i, j, _) = cell.face_ij_orientation();
    let (level, size) = (level.max(cell.level()), size_ij(cell.level()) as i32);
    let (i, j, last) = (i & -size, j & -size, size - 1);
    // The descendants along a side, in the order of the outline, and the corner of each that is on it.
    let on_side = |side: usize, along: i32| match side {
        0 => (i + along, j),
        1 => (i + last, j + along),
        2 => (i + last - along, j + last),
        _ => (i, j + last - along),
    };
    let steps = || (0..size).step_by(size_ij(level) as usize);
    let along_sides = (0..4).flat_map(|side| steps().map(move |along| (side, along)));
    let vertex = |(side, along)| {
        let (i, j) = on_side(side, along);
        let at = Cell::from(CellID::from_face_ij(face, i, j).parent(level)).vertex(side).0;
        LatLng::from_vector([at.x, at.y, at.z]).map(|at| (at.lng, at.lat))
    };
    let vertices: Vec<(f64, f64)> = along_sides.filter_map(vertex).collect();
    Polygon::new(LineString::from(unroll(&vertices)), Vec::new())
}

/// A ring without jumps of the longitude by 360 degrees. A vertex at a pole becomes two, at its neighbours' longitudes.
fn unroll(ring: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let is_pole = |i: usize| ring[i].1.abs() > POLE_DEG;
    let start = (0..ring.len()).find(|i| !is_pole(*i)).unwrap_or_default();
    let mut unrolled: Vec<(f64, f64)> = Vec::new();
    for i in (0..ring.len()).map(|i| (start + i) % ring.len()) {
        let last = unrolled.last().map_or(ring[i].0, |(lng, _)| *lng);
        let near = |lng: f64| lng - 360.0 * ((lng - last) / 360.0).round();
        let lat = ring[i].1;
        if is_pole(i) {
            unrolled.extend([(last, lat), (near(ring[(i + 1) % ring.len()].0), lat)]);
        } else {
            unrolled.push((near(ring[i].0), lat));
        }
    }
    unrolled
}

fn cut_at_date_line(polygon: Polygon<f64>) -> MultiPolygon<f64> {
    let is_on_map = polygon.exterior().coords().all(|at| at.x.abs() <= 180.0);
    if is_on_map {
        return polygon.into();
    }
    let map = Rect::new((-180.0, -90.0), (180.0, 90.0)).to_polygon();
    let turned = [0.0, 360.0, -360.0].map(|turn| polygon.translate(turn, 0.0).intersection(&map));
    MultiPolygon(turned.into_iter().flatten().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use geo::{Area, Contains, Point, Validation};
    use landfall_model::cells::leaf;

    fn cell(lat: f64, lng: f64, level: u64) -> CellID {
        leaf(LatLng::new(lat, lng).unwrap()).parent(level)
    }

    #[test]
    fn cells_of_all_sizes_join_without_gaps() {
        // A cell with one of its children replaced by all that the child consists of.
        let large = cell(52.0, 13.0, 4);
        let children = large.children();
        let mixed: Vec<CellID> = children[1..].iter().copied().chain(children[0].child_iter_at_level(9)).collect();
        let (joined, whole) = (outline(&mixed), outline(&[large]));
        assert_eq!((joined.0.len(), joined.0[0].interiors().len()), (1, 0));
        assert!((joined.unsigned_area() / whole.unsigned_area() - 1.0).abs() < 1e-3);
        assert!(joined.is_valid());
    }

    #[test]
    fn regions_are_cut_at_the_date_line_and_reach_the_poles() {
        let fiji = outline(&[cell(-17.5, 179.9, 4), cell(-17.5, -179.9, 4)]);
        assert!(fiji.is_valid());
        let contains = |region: &MultiPolygon<f64>, lat, lng| region.contains(&Point::new(lng, lat));
        assert!(contains(&fiji, -17.5, 179.5) && contains(&fiji, -17.5, -179.5) && !contains(&fiji, -17.5, 0.0));
        let on_map = fiji.iter().flat_map(|polygon| polygon.exterior().coords()).all(|at| at.x.abs() <= 180.0);
        assert!(on_map);
        let pole = outline(&[45.0, 135.0, -45.0, -135.0].map(|lng| cell(-89.0, lng, 3)));
        assert!((-180..180).step_by(15).all(|lng| contains(&pole, -89.5, f64::from(lng) + 0.5)), "{pole:?}");
    }
}
