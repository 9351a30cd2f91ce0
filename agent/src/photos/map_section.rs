//! A section of the world map around some places, with land as SVG paths.

use landfall_common::draw::{Point, land, svg};
use landfall_model::LatLng;

/// Width of a map in units. Two units are one pixel on the page, so integer coordinates suffice.
pub(super) const WIDTH: f64 = 1920.0;
/// Minimum and maximum height of a map in units.
const HEIGHT_RANGE: (f64, f64) = (750.0, 960.0);
/// Maximum latitude shown, unless a place is beyond it.
const LAT_RANGE_DEG: (f64, f64) = (-58.0, 80.0);
/// Minimum range of latitudes in degrees.
const MIN_HEIGHT_DEG: f64 = 8.0;
/// Metres per degree of latitude.
const METRES_PER_DEGREE: f64 = 111_195.0;
/// Margin around the places as a fraction of their extent.
const MARGIN: f64 = 0.12;

/// An equirectangular map that is conformal at its centre.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapSection {
    west: f64,
    north: f64,
    /// Units per degree of longitude and of latitude.
    scale: (f64, f64),
    /// Height in units.
    pub(super) height: f64,
}

impl MapSection {
    /// The section around these places, each with a radius in metres that should be visible.
    pub(super) fn around(places: &[(LatLng, f64)]) -> Self {
        let up = |metres: f64| metres / METRES_PER_DEGREE;
        let aside = |(at, metres): &(LatLng, f64)| up(*metres) / at.lat.to_radians().cos().max(0.2);
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::INFINITY, f64::min);
        let mut south =
            least(&mut places.iter().map(|(at, r)| (at.lat - up(*r)).max(LAT_RANGE_DEG.0.min(at.lat - 2.0))));
        let mut north =
            -least(&mut places.iter().map(|(at, r)| -(at.lat + up(*r)).min(LAT_RANGE_DEG.1.max(at.lat + 2.0))));
        let cut = widest_gap(places.iter().map(|place| place.0.lng).collect());
        let unrolled = |lng: f64| cut + (lng - cut).rem_euclid(360.0);
        let mut west = least(&mut places.iter().map(|place| unrolled(place.0.lng) - aside(place)));
        let mut east = -least(&mut places.iter().map(|place| -unrolled(place.0.lng) - aside(place)));
        let mut margin = 1.0 + MARGIN;
        if places.is_empty() || east - west > 300.0 {
            // Show the whole world if the places span it.
            (west, east) = (-180.0, 180.0);
            (south, north, margin) = (south.min(LAT_RANGE_DEG.0), north.max(LAT_RANGE_DEG.1), 1.0);
        }
        let (high, wide) = ((north - south).max(MIN_HEIGHT_DEG) * margin, (east - west) * margin);
        let middle = (f64::midpoint(south, north), f64::midpoint(west, east));
        // Not wider than the world, even if the sides of the map remain empty.
        let shrink = middle.0.to_radians().cos().max(0.2);
        let per_degree = (HEIGHT_RANGE.1 / high).min(WIDTH / (wide.min(360.0) * shrink).max(1.0));
        let scale = (per_degree * shrink, per_degree);
        let height = (high * per_degree).clamp(HEIGHT_RANGE.0, HEIGHT_RANGE.1);
        let north = middle.0 + height / per_degree / 2.0;
        Self { west: middle.1 - WIDTH / scale.0 / 2.0, north, scale, height }
    }

    /// Coordinates in units from the left and top.
    pub(super) fn project(&self, at: LatLng) -> (f64, f64) {
        // On the turn of the globe that is nearest to the middle of the map.
        let middle = self.west + WIDTH / self.scale.0 / 2.0;
        self.project_degrees(at.lng - 360.0 * ((at.lng - middle) / 360.0).round(), at.lat)
    }

    fn project_degrees(&self, lng: f64, lat: f64) -> (f64, f64) {
        ((lng - self.west) * self.scale.0, (self.north - lat) * self.scale.1)
    }

    /// Width of the world in units.
    fn world_width(&self) -> f64 {
        360.0 * self.scale.0
    }

    /// Land as one path per visible country.
    pub(super) fn land(&self) -> Vec<String> {
        let mut paths: Vec<(&str, String)> = Vec::new();
        for (country, ring) in land::rings() {
            if paths.last().is_none_or(|(iso2, _)| *iso2 != country.iso2) {
                paths.push((country.iso2, String::new()));
            }
            let Some((_, path)) = paths.last_mut() else { continue };
            let around = |bounds: [f64; 4], (x, y): Point| {
                [bounds[0].min(x), bounds[1].max(x), bounds[2].min(y), bounds[3].max(y)]
            };
            let start = [f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY, f64::NEG_INFINITY];
            let [west, east, south, north] = ring.clone().fold(start, around);
            // Draw copies on the other side of the date line.
            for turn in [-360.0, 0.0, 360.0] {
                let (left, top) = self.project_degrees(west + turn, north);
                let (right, bottom) = self.project_degrees(east + turn, south);
                if right < 0.0 || left > WIDTH || bottom < 0.0 || top > self.height {
                    continue;
                }
                svg::closed_path(ring.clone().map(|(lng, lat)| self.project_degrees(lng + turn, lat)), path);
            }
        }
        paths.into_iter().map(|(_, path)| path).filter(|path| !path.is_empty()).collect()
    }

    /// A circle with a radius in metres around a place, as a path.
    pub(super) fn circle(&self, at: LatLng, radius_m: f64) -> String {
        let (mut points, mut last) = (Vec::new(), at.lng);
        for step in 0..=72 {
            let point = at.destination(f64::from(step) * 5.0, radius_m);
            let lng = point.lng - 360.0 * ((point.lng - last) / 360.0).round();
            points.push((lng, point.lat));
            last = lng;
        }
        // Around a pole, the inside is the area towards the pole.
        let (first, last) = (points[0], points[points.len() - 1]);
        if (last.0 - first.0).abs() > 180.0 {
            let pole = if at.lat < 0.0 { -90.0 } else { 90.0 };
            points.extend([(last.0, pole), (first.0, pole)]);
        }
        let mut path = String::new();
        for turn in [-self.world_width(), 0.0, self.world_width()] {
            let shifted: Vec<(f64, f64)> =
                points.iter().map(|(lng, lat)| self.project_degrees(*lng, *lat)).map(|(x, y)| (x + turn, y)).collect();
            if shifted.iter().any(|(x, _)| (0.0..=WIDTH).contains(x)) {
                svg::closed_path(shifted.into_iter(), &mut path);
            }
        }
        path
    }
}

/// A longitude in the middle of the widest gap between some longitudes: the place to cut the world for the narrowest map.
fn widest_gap(mut lngs: Vec<f64>) -> f64 {
    lngs.sort_by(f64::total_cmp);
    let (Some(first), Some(last)) = (lngs.first(), lngs.last()) else { return -180.0 };
    // The gap across the date line, where the world is cut as usual unless another gap is clearly wider.
    let across = (first + 360.0 - last, -180.0);
    let gaps = lngs.windows(2).map(|pair| (pair[1] - pair[0], f64::midpoint(pair[0], pair[1])));
    gaps.fold(across, |widest, gap| if gap.0 > widest.0 { gap } else { widest }).1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(lat: f64, lng: f64) -> LatLng {
        LatLng::new(lat, lng).unwrap()
    }

    #[test]
    fn places_are_on_the_map_with_north_up() {
        for places in [
            vec![place(45.0, 5.0)],
            vec![place(45.0, 5.0), place(48.0, 11.0)],
            vec![place(-54.0, -170.0), place(78.0, 179.0), place(0.0, 0.0)],
            vec![place(89.0, 10.0), place(-89.0, 10.0)],
        ] {
            for radius_m in [0.0, 200_000.0, 3_000_000.0, 12_000_000.0] {
                let view = MapSection::around(&places.iter().map(|at| (*at, radius_m)).collect::<Vec<_>>());
                for at in &places {
                    let (x, y) = view.project(*at);
                    assert!(
                        (0.0..=WIDTH).contains(&x) && (0.0..=view.height).contains(&y),
                        "{places:?} {radius_m}: {x} {y}"
                    );
                    assert!(!view.circle(*at, radius_m.max(1e6)).is_empty());
                }
            }
        }
        // Fiji on both sides of the date line.
        let (west, east) = (place(-17.0, 178.0), place(-17.0, -178.0));
        let view = MapSection::around(&[(east, 1e5), (west, 1e5)]);
        let apart = view.project(east).0 - view.project(west).0;
        assert!((300.0..WIDTH).contains(&apart), "{apart}");
        assert!(!view.circle(east, 1e5).is_empty() && !view.land().is_empty());
        let view = MapSection::around(&[(place(0.0, 0.0), 1e6)]);
        assert!(view.project(place(1.0, 0.0)).1 < view.project(place(0.0, 0.0)).1);
    }

    #[test]
    fn small_sections_have_few_countries_and_the_world_is_small_enough_to_embed() {
        let near = MapSection::around(&[(place(46.8, 8.2), 50_000.0)]).land();
        assert!((3..30).contains(&near.len()), "{}", near.len());
        let world = MapSection::around(&[]).land().concat();
        assert!((50_000..500_000).contains(&world.len()), "{}", world.len());
    }
}
