//! A grid that speeds up the search for a country: in a cell without a border, all locations have the same country.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use geo::{BoundingRect, Rect};

use super::{Country, all, search};
use crate::latlng::{EARTH_RADIUS_M, LatLng};

/// Grid cells per degree of latitude and of longitude.
const PER_DEGREE: f64 = 4.0;
const COLUMNS: usize = 1440;
const ROWS: usize = 720;

/// Contents of a cell. Any other value is the index of a country in [`all`].
const UNKNOWN: u16 = 0xffff;
const BORDER: u16 = 0xfffe;
const SEA: u16 = 0xfffd;

/// The cells, row by row from the south pole; filled in as they are needed.
fn cells() -> &'static [AtomicU16] {
    static CELLS: OnceLock<Vec<AtomicU16>> = OnceLock::new();
    CELLS.get_or_init(|| {
        let cells: Vec<AtomicU16> = (0..COLUMNS * ROWS).map(|_| AtomicU16::new(UNKNOWN)).collect();
        let rings = all()
            .iter()
            .flat_map(|country| &country.shape.0)
            .flat_map(|polygon| std::iter::once(polygon.exterior()).chain(polygon.interiors()));
        for line in rings.flat_map(|ring| ring.lines()) {
            let bounds: Rect<f64> = line.bounding_rect();
            for cell in cells_in(bounds.min().y, bounds.max().y, bounds.min().x, bounds.max().x) {
                cells[cell].store(BORDER, Ordering::Relaxed);
            }
        }
        cells
    })
}

/// Indices of the cells that a box in degrees touches; longitudes beyond ±180 wrap around.
fn cells_in(south: f64, north: f64, west: f64, east: f64) -> impl Iterator<Item = usize> {
    let row = |lat: f64| (((lat + 90.0) * PER_DEGREE).floor().max(0.0) as usize).min(ROWS - 1);
    let column = |lng: f64| ((lng + 180.0) * PER_DEGREE).floor() as i64;
    let columns = column(west)..=column(east).min(column(west) + COLUMNS as i64 - 1);
    (row(south)..=row(north)).flat_map(move |row| {
        columns.clone().map(move |column| row * COLUMNS + column.rem_euclid(COLUMNS as i64) as usize)
    })
}

/// The country at a location, the same that [`search`] finds.
pub(super) fn at(location: LatLng) -> Option<&'static Country> {
    let cell = cells_in(location.lat, location.lat, location.lng, location.lng).next().unwrap_or_default();
    match contents(cell) {
        BORDER => search(location),
        SEA => None,
        country => all().get(usize::from(country)),
    }
}

/// Contents of a cell, searched for on first use.
fn contents(cell: usize) -> u16 {
    let known = cells()[cell].load(Ordering::Relaxed);
    if known != UNKNOWN {
        return known;
    }
    let middle = |index: usize, from: f64| (index as f64 + 0.5) / PER_DEGREE - from;
    let found = search(LatLng { lat: middle(cell / COLUMNS, 90.0), lng: middle(cell % COLUMNS, 180.0) });
    let index = found.and_then(|country| all().binary_search_by(|other| other.iso2.cmp(country.iso2)).ok());
    let contents = index.map_or(SEA, |index| index as u16);
    cells()[cell].store(contents, Ordering::Relaxed);
    contents
}

/// Whether there is certainly no land within `reach_m` metres. Always false near the poles.
pub(super) fn is_open_sea(location: LatLng, reach_m: f64) -> bool {
    let up = (reach_m / EARTH_RADIUS_M).to_degrees();
    // Degrees of longitude are shortest on the side of the box that is nearest to a pole.
    let shortest = libm::cos((location.lat.abs() + up).to_radians());
    if location.lat.abs() + up > 85.0 || up / shortest > 90.0 {
        return false;
    }
    let aside = up / shortest;
    let mut touched = cells_in(location.lat - up, location.lat + up, location.lng - aside, location.lng + aside);
    touched.all(|cell| contents(cell) == SEA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn code(country: Option<&'static Country>) -> Option<&'static str> {
        country.map(|country| country.iso2)
    }

    proptest! {
        #[test]
        fn the_grid_agrees_with_the_search(lat in -90.0f64..=90.0, lng in -180.0f64..180.0) {
            let location = LatLng { lat, lng };
            prop_assert_eq!(code(at(location)), code(search(location)));
        }

        #[test]
        fn the_grid_agrees_with_the_search_near_borders(number in 0usize..100_000, aside in -0.3f64..0.3, along in -0.3f64..0.3) {
            let polygons: Vec<_> = all().iter().flat_map(|country| &country.shape.0).collect();
            let ring = polygons[number % polygons.len()].exterior();
            let point = ring.0[number % ring.0.len()];
            let location = LatLng::new((point.y + along).clamp(-90.0, 90.0), point.x + aside).unwrap();
            prop_assert_eq!(code(at(location)), code(search(location)));
            if is_open_sea(location, 10_000.0) {
                for (heading, metres) in [(0.0, 9_999.0), (90.0, 9_999.0), (225.0, 9_999.0), (300.0, 5_000.0)] {
                    prop_assert!(search(location.destination(heading, metres)).is_none());
                }
            }
        }
    }

    #[test]
    fn coasts_are_not_open_sea() {
        let sea = |lat: f64, lng: f64| is_open_sea(LatLng::new(lat, lng).unwrap(), 10_000.0);
        assert!(sea(0.0, -30.0) && sea(30.0, 179.999) && sea(-50.0, 100.0));
        assert!(!sea(43.27, 5.28) && !sea(45.76, 4.83) && !sea(89.0, 0.0));
    }
}
