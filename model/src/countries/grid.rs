//! A grid over the earth that knows where borders are: in a cell that none passes through, one place speaks for all.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use geo::{BoundingRect, Rect};

use super::{Country, all, search};
use crate::latlng::{EARTH_RADIUS_M, LatLng};

/// Cells of a degree, each way.
const PER_DEGREE: f64 = 4.0;
const ACROSS: usize = 1440;
const DOWN: usize = 720;

/// What a cell is known to be; any other number is a country's place in [`all`].
const UNKNOWN: u16 = 0xffff;
const BORDER: u16 = 0xfffe;
const SEA: u16 = 0xfffd;

/// The cells, row by row from the south pole.
fn cells() -> &'static [AtomicU16] {
    static CELLS: OnceLock<Vec<AtomicU16>> = OnceLock::new();
    CELLS.get_or_init(|| {
        let cells: Vec<AtomicU16> = (0..ACROSS * DOWN).map(|_| AtomicU16::new(UNKNOWN)).collect();
        let rings = all()
            .iter()
            .flat_map(|country| &country.shape.0)
            .flat_map(|polygon| std::iter::once(polygon.exterior()).chain(polygon.interiors()));
        for line in rings.flat_map(|ring| ring.lines()) {
            let bounds: Rect<f64> = line.bounding_rect();
            for cell in within(bounds.min().y, bounds.max().y, bounds.min().x, bounds.max().x) {
                cells[cell].store(BORDER, Ordering::Relaxed);
            }
        }
        cells
    })
}

/// The cells that a box of degrees touches; those beyond the date line are on its other side.
fn within(south: f64, north: f64, west: f64, east: f64) -> impl Iterator<Item = usize> {
    let row = |lat: f64| (((lat + 90.0) * PER_DEGREE).floor().max(0.0) as usize).min(DOWN - 1);
    let column = |lng: f64| ((lng + 180.0) * PER_DEGREE).floor() as i64;
    let columns = column(west)..=column(east).min(column(west) + ACROSS as i64 - 1);
    (row(south)..=row(north)).flat_map(move |row| {
        columns.clone().map(move |column| row * ACROSS + column.rem_euclid(ACROSS as i64) as usize)
    })
}

/// The country at a place, as [`search`] finds it.
pub(super) fn at(place: LatLng) -> Option<&'static Country> {
    let cell = within(place.lat, place.lat, place.lng, place.lng).next().unwrap_or_default();
    match known(cell) {
        BORDER => search(place),
        SEA => None,
        country => all().get(usize::from(country)),
    }
}

/// What a cell is, found out where that is not known yet.
fn known(cell: usize) -> u16 {
    let known = cells()[cell].load(Ordering::Relaxed);
    if known != UNKNOWN {
        return known;
    }
    let middle = |index: usize, from: f64| (index as f64 + 0.5) / PER_DEGREE - from;
    let found = search(LatLng { lat: middle(cell / ACROSS, 90.0), lng: middle(cell % ACROSS, 180.0) });
    let number = found.and_then(|country| all().binary_search_by(|other| other.iso2.cmp(country.iso2)).ok());
    let known = number.map_or(SEA, |number| number as u16);
    cells()[cell].store(known, Ordering::Relaxed);
    known
}

/// Whether there is certainly no land within so many metres. Near the poles it never is certain.
pub(super) fn is_open_sea(place: LatLng, reach_m: f64) -> bool {
    let up = (reach_m / EARTH_RADIUS_M).to_degrees();
    // Meridians come nearer to each other towards the pole: there they are nearest in the box.
    let least = libm::cos((place.lat.abs() + up).to_radians());
    if place.lat.abs() + up > 85.0 || up / least > 90.0 {
        return false;
    }
    let aside = up / least;
    within(place.lat - up, place.lat + up, place.lng - aside, place.lng + aside).all(|cell| known(cell) == SEA)
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
        fn the_grid_knows_what_a_search_finds(lat in -90.0f64..=90.0, lng in -180.0f64..180.0) {
            let place = LatLng { lat, lng };
            prop_assert_eq!(code(at(place)), code(search(place)));
        }

        #[test]
        fn near_borders_too(number in 0usize..100_000, aside in -0.3f64..0.3, along in -0.3f64..0.3) {
            let polygons: Vec<_> = all().iter().flat_map(|country| &country.shape.0).collect();
            let ring = polygons[number % polygons.len()].exterior();
            let point = ring.0[number % ring.0.len()];
            let place = LatLng::new((point.y + along).clamp(-90.0, 90.0), point.x + aside).unwrap();
            prop_assert_eq!(code(at(place)), code(search(place)));
            if is_open_sea(place, 10_000.0) {
                for (heading, metres) in [(0.0, 9_999.0), (90.0, 9_999.0), (225.0, 9_999.0), (300.0, 5_000.0)] {
                    prop_assert!(search(place.destination(heading, metres)).is_none());
                }
            }
        }
    }

    #[test]
    fn the_open_sea_is_told_from_coasts() {
        let sea = |lat: f64, lng: f64| is_open_sea(LatLng::new(lat, lng).unwrap(), 10_000.0);
        assert!(sea(0.0, -30.0) && sea(30.0, 179.999) && sea(-50.0, 100.0));
        assert!(!sea(43.27, 5.28) && !sea(45.76, 4.83) && !sea(89.0, 0.0));
    }
}
