//! Areas on earth, and how they are written on the command line.

use geo::{Polygon, Rect};
use landfall_model::{LatLng, countries};

use crate::photos::hints::polygons::{Polygons, point_inside};

/// Half of the circumference of the earth, in kilometres.
const MAX_RADIUS_KM: f64 = 20_016.0;
/// Distance from the coast within which the sea belongs to a country, as in `countries::of`; a little more for rounding.
const OFFSHORE_M: f64 = 51_000.0;
const METRES_PER_DEGREE: f64 = 111_195.0;

/// An area on earth.
#[derive(Debug)]
pub(crate) enum Area {
    /// Countries by their codes, with the sea up to 50 km off their coasts.
    Countries(Vec<&'static str>),
    /// A circle.
    Circle {
        /// Its centre.
        centre: LatLng,
        /// Its radius in metres.
        radius_m: f64,
    },
    /// Latitudes and longitudes in degrees, over the date line if `west` is greater than `east`.
    Bounds { south: f64, west: f64, north: f64, east: f64 },
    /// The union of polygons.
    Polygons(Polygons),
}

/// How a circle lies in relation to an area, as far as that is quickly known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Inside,
    Outside,
    Unknown,
}

impl Area {
    /// Countries, as in `FR,BE`.
    ///
    /// # Errors
    /// When a code is unknown, or its country is not on the map.
    pub(super) fn countries(text: &str) -> Result<Self, String> {
        let code = |code: &str| {
            let code = code.trim().to_ascii_uppercase();
            let country = countries::by_code(&code).ok_or_else(|| {
                let named = countries::all().iter().find(|country| country.name.eq_ignore_ascii_case(&code));
                let example = named.map_or_else(
                    || "as in FR,BE".to_owned(),
                    |country| format!("which is {} for {}", country.iso2, country.name),
                );
                format!("`{code}` is not the two-letter code of a country, {example}")
            })?;
            let is_drawn = !country.shape.0.is_empty();
            let too_small = || format!("{} is too small for the map; give a circle instead", country.name);
            is_drawn.then_some(country.iso2).ok_or_else(too_small)
        };
        text.split(',').map(code).collect::<Result<_, _>>().map(Self::Countries)
    }

    /// A circle, as in `48.86,2.35,50`.
    ///
    /// # Errors
    /// When the text is not a circle on earth.
    pub(super) fn circle(text: &str) -> Result<Self, String> {
        let [lat, lng, radius_km] =
            numbers(text).ok_or_else(|| format!("`{text}` is not LAT,LNG,KM, as in 48.86,2.35,50"))?;
        Self::circle_around(lat, lng, radius_km)
    }

    /// A circle around a location in degrees.
    ///
    /// # Errors
    /// When the location or the radius is not on earth.
    pub(crate) fn circle_around(lat: f64, lng: f64, radius_km: f64) -> Result<Self, String> {
        let centre = LatLng::new(lat, lng).map_err(|error| error.to_string())?;
        if !(radius_km > 0.0 && radius_km <= MAX_RADIUS_KM) {
            return Err(format!("{radius_km} is not a radius in kilometres, above 0 and up to {MAX_RADIUS_KM}"));
        }
        Ok(Self::Circle { centre, radius_m: radius_km * 1000.0 })
    }

    /// A box, as in `36,-9.5,43.8,3.3`.
    ///
    /// # Errors
    /// When the text is not a box on earth.
    pub(super) fn bounds(text: &str) -> Result<Self, String> {
        let [south, west, north, east] = numbers(text)
            .ok_or_else(|| format!("`{text}` is not SOUTH,WEST,NORTH,EAST in degrees, as in 36,-9.5,43.8,3.3"))?;
        let is_on_earth = [south, north].iter().all(|lat| lat.abs() <= 90.0)
            && [west, east].iter().all(|lng| lng.abs() <= 180.0)
            && west != east;
        if !is_on_earth || south >= north {
            return Err(format!(
                "`{text}` is not a box: south must be less than north, both within ±90; west and east within ±180"
            ));
        }
        Ok(Self::Bounds { south, west, north, east })
    }

    pub(super) fn contains(&self, at: LatLng) -> bool {
        match self {
            Self::Countries(codes) => countries::of(at).is_some_and(|country| codes.contains(&country.iso2)),
            Self::Circle { centre, radius_m } => centre.distance_m(at) <= *radius_m,
            Self::Bounds { south, west, north, east } => {
                let is_between = match west <= east {
                    true => (*west..=*east).contains(&at.lng),
                    false => at.lng >= *west || at.lng <= *east,
                };
                is_between && (*south..=*north).contains(&at.lat)
            }
            Self::Polygons(polygons) => polygons.contains(at),
        }
    }

    /// How a circle lies in relation to this area.
    pub(super) fn relation(&self, centre: LatLng, radius_m: f64) -> Relation {
        let (south, north) = match self {
            Self::Countries(codes) => {
                let rects =
                    codes.iter().filter_map(|code| countries::by_code(code)).flat_map(|country| &country.shape.0);
                let reach_m = radius_m + OFFSHORE_M;
                let is_near = rects.filter_map(rect_of).any(|rect| may_touch(&rect, centre, reach_m));
                return if is_near { Relation::Unknown } else { Relation::Outside };
            }
            Self::Circle { centre: own, radius_m: own_radius_m } => {
                let distance_m = own.distance_m(centre);
                return match () {
                    () if distance_m > own_radius_m + radius_m => Relation::Outside,
                    () if distance_m + radius_m <= *own_radius_m => Relation::Inside,
                    () => Relation::Unknown,
                };
            }
            Self::Bounds { south, north, .. } => (*south, *north),
            Self::Polygons(polygons) => polygons.latitudes(),
        };
        let reach = radius_m / METRES_PER_DEGREE;
        let is_apart = centre.lat + reach < south || centre.lat - reach > north;
        if is_apart { Relation::Outside } else { Relation::Unknown }
    }

    /// Some locations in the area, for areas so small that they lie between the samples of a cell.
    pub(super) fn anchors(&self) -> Vec<LatLng> {
        match self {
            Self::Countries(codes) => {
                let shapes =
                    codes.iter().filter_map(|code| countries::by_code(code)).flat_map(|country| &country.shape.0);
                shapes.filter_map(inside).collect()
            }
            Self::Circle { centre, radius_m } => {
                let ring = |part: f64| (0..8).map(move |step| (f64::from(step) * 45.0, part));
                let around = ring(0.5).chain(ring(0.95));
                let around = around.map(|(bearing, part)| centre.destination(bearing, part * radius_m));
                std::iter::once(*centre).chain(around).collect()
            }
            Self::Bounds { south, west, north, east } => {
                let width = if west < east { east - west } else { east - west + 360.0 };
                let part = |step: i32| (f64::from(step) + 0.5) / 5.0;
                let at =
                    |(row, column)| LatLng::new(south + part(row) * (north - south), west + part(column) * width).ok();
                (0..5).flat_map(|row| (0..5).map(move |column| (row, column))).filter_map(at).collect()
            }
            Self::Polygons(polygons) => polygons.iter().filter_map(inside).collect(),
        }
    }
}

/// Whether a circle may touch a rectangle in degrees; certainly not if `false`.
fn may_touch(rect: &Rect<f64>, centre: LatLng, radius_m: f64) -> bool {
    let up = radius_m / METRES_PER_DEGREE;
    let nearest_pole = centre.lat.abs() + up;
    if centre.lat + up < rect.min().y || centre.lat - up > rect.max().y {
        return false;
    }
    let aside = up / libm::cos(nearest_pole.min(89.0).to_radians());
    let is_beside = |lng: f64| lng + aside >= rect.min().x && lng - aside <= rect.max().x;
    nearest_pole > 85.0 || [0.0, 360.0, -360.0].iter().any(|turn| is_beside(centre.lng + turn))
}

fn inside(polygon: &Polygon<f64>) -> Option<LatLng> {
    let point = point_inside(polygon)?;
    LatLng::new(point.y(), point.x()).ok()
}

/// Numbers separated by commas.
pub(super) fn numbers<const N: usize>(text: &str) -> Option<[f64; N]> {
    let numbers: Option<Vec<f64>> = text.split(',').map(|number| number.trim().parse().ok()).collect();
    let numbers: [f64; N] = numbers?.try_into().ok()?;
    numbers.iter().all(|number| number.is_finite()).then_some(numbers)
}

/// The rectangle around a polygon, in degrees.
pub(super) fn rect_of(polygon: &Polygon<f64>) -> Option<Rect<f64>> {
    geo::BoundingRect::bounding_rect(polygon)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lng: f64) -> LatLng {
        LatLng::new(lat, lng).unwrap()
    }

    #[test]
    fn areas_contain_what_lies_in_them() {
        let (paris, brussels, berlin, suva) = (at(48.86, 2.35), at(50.85, 4.35), at(52.5, 13.4), at(-18.1, 178.4));
        let countries = Area::countries("fr, BE").unwrap();
        assert!(countries.contains(paris) && countries.contains(brussels) && !countries.contains(berlin));
        let circle = Area::circle("48.86, 2.35, 264").unwrap();
        assert!(circle.contains(paris) && circle.contains(brussels) && !circle.contains(berlin));
        let bounds = Area::bounds("36,-9.5,49,3").unwrap();
        assert!(bounds.contains(paris) && !bounds.contains(brussels) && !bounds.contains(suva));
        let over_the_date_line = Area::bounds("-30,170,0,-170").unwrap();
        assert!(over_the_date_line.contains(suva) && !over_the_date_line.contains(paris));
    }

    #[test]
    fn malformed_areas_are_refused_with_the_form_to_use() {
        for (result, reason) in [
            (Area::countries("FR,ZZ"), "`ZZ` is not the two-letter code of a country, as in FR"),
            (Area::countries("italy"), "which is IT for Italy"),
            (Area::countries(""), "not the two-letter code"),
            (Area::circle("48.86,2.35"), "LAT,LNG,KM"),
            (Area::circle("91,0,5"), "invalid coordinates"),
            (Area::circle("1,2,0"), "not a radius"),
            (Area::circle("1,2,NaN"), "LAT,LNG,KM"),
            (Area::circle("1,2,inf"), "LAT,LNG,KM"),
            (Area::bounds("43,0,36,3"), "south must be less than north"),
            (Area::bounds("0,0,1,200"), "within ±180"),
            (Area::bounds("0,0,1"), "SOUTH,WEST,NORTH,EAST"),
        ] {
            let error = result.unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn circles_that_touch_a_country_are_not_left_out() {
        let area = Area::countries("FJ,NO,AQ,RU").unwrap();
        for (lat, lng) in [(-17.5, 179.0), (-17.5, -179.5), (78.0, 16.0), (-88.0, 20.0), (66.5, -172.0), (60.0, 5.0)] {
            for bearing in 0..8 {
                let centre = at(lat, lng).destination(f64::from(bearing) * 45.0, 299_000.0);
                assert_eq!(area.relation(centre, 300_000.0), Relation::Unknown, "{centre}");
            }
        }
        assert_eq!(area.relation(at(48.0, 2.0), 300_000.0), Relation::Outside);
    }

    #[test]
    fn anchors_lie_in_their_area() {
        for area in [
            Area::countries("MC,FJ,US").unwrap(),
            Area::circle("89.5,10,300").unwrap(),
            Area::circle("-17,179.9,30").unwrap(),
            Area::bounds("-30,170,0,-170").unwrap(),
        ] {
            let anchors = area.anchors();
            assert!(!anchors.is_empty() && anchors.iter().all(|anchor| area.contains(*anchor)), "{area:?}");
        }
    }
}
