//! The region around the pin and the truth in Lambert's azimuthal equal-area projection, which has no discontinuity at
//! the date line and nearly straight great circles.

use landfall_common::draw::clip::clip_to_rect;
use landfall_common::draw::{Point, land};
use landfall_model::LatLng;
use landfall_model::latlng::EARTH_RADIUS_M;
use maud::{Markup, html};

use crate::analysis::report::format;
use crate::analysis::report::map::{MapScene, great_circle, heat, line, mark};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 480.0;
/// Shapes are clipped at this distance in pixels outside the image.
const MARGIN: f64 = 8.0;
/// Minimum and maximum distance in metres from the centre to the top edge.
const REACH_M: (f64, f64) = (70_000.0, 2_600_000.0);
/// Distance from the centre to the top edge, as a multiple of the distance between pin and truth.
const OF_THE_WAY: f64 = 0.9;
/// Resolution of borders in pixels.
const COARSE: f64 = 0.7;
/// Minimum fraction of the image that a country must cover to be labelled.
const NAMED: f64 = 0.02;

/// The projection of a detail map.
struct AzimuthalProjection {
    centre: LatLng,
    pixels_per_radian: f64,
}

impl AzimuthalProjection {
    /// The region that contains the pin and the truth or, if they are too far apart, the surroundings of the pin.
    fn around(scene: &MapScene<'_>) -> Option<Self> {
        let anchor = scene.pin.or(scene.truth)?;
        let other = scene.truth.unwrap_or(anchor);
        let apart_m = anchor.distance_m(other);
        let both = LatLng::mean([(anchor, 1.0), (other, 1.0)]).filter(|_| apart_m * OF_THE_WAY <= REACH_M.1);
        let (centre, reach_m) = match both {
            Some(middle) => (middle, (apart_m * OF_THE_WAY).clamp(REACH_M.0, REACH_M.1)),
            None => (anchor, REACH_M.1 / 2.0),
        };
        Some(Self { centre, pixels_per_radian: HEIGHT / 2.0 / (reach_m / EARTH_RADIUS_M) })
    }

    fn project(&self, at: LatLng) -> Point {
        let (phi, phi0) = (at.lat.to_radians(), self.centre.lat.to_radians());
        let lambda = (at.lng - self.centre.lng).to_radians();
        let k = (2.0 / (1.0 + phi0.sin() * phi.sin() + phi0.cos() * phi.cos() * lambda.cos()).max(1e-6)).sqrt();
        let x = k * phi.cos() * lambda.sin();
        let y = k * (phi0.cos() * phi.sin() - phi0.sin() * phi.cos() * lambda.cos());
        (WIDTH / 2.0 + x * self.pixels_per_radian, HEIGHT / 2.0 - y * self.pixels_per_radian)
    }

    fn shows(&self, at: LatLng) -> bool {
        let (x, y) = self.project(at);
        (0.0..=WIDTH).contains(&x) && (0.0..=HEIGHT).contains(&y)
    }

    /// The part of an outline inside the image.
    fn cut(&self, outline: impl Iterator<Item = LatLng>) -> Vec<Point> {
        let mut is_near = false;
        let points: Vec<Point> = outline
            .inspect(|at| is_near |= at.distance_m(self.centre) < 1e7) // on this hemisphere
            .map(|at| self.project(at))
            .collect();
        if is_near { clip_to_rect(points, (-MARGIN, -MARGIN), (WIDTH + MARGIN, HEIGHT + MARGIN)) } else { Vec::new() }
    }

    /// Length of the scale bar in metres: 1, 2 or 5 times a power of ten.
    fn bar_m(&self) -> f64 {
        let longest_m = WIDTH / 4.0 / self.pixels_per_radian * EARTH_RADIUS_M;
        let power = 10f64.powf(longest_m.log10().floor());
        [5.0, 2.0, 1.0].into_iter().map(|n| n * power).find(|metres| *metres <= longest_m).unwrap_or(power)
    }
}

/// A map of the surroundings of pin and truth; `None` if neither is known.
pub(in crate::analysis::report) fn detail(scene: &MapScene<'_>, name: &str) -> Option<Markup> {
    let projection = AzimuthalProjection::around(scene)?;
    let (mut land, mut labels) = (String::new(), Vec::<(f64, Point, &str)>::new());
    for (country, ring) in land::rings() {
        let places = ring.filter_map(|(lng, lat)| LatLng::new(lat, lng).ok());
        let ring = thin(projection.cut(places));
        if ring.len() < 3 {
            continue;
        }
        line(ring.iter().copied(), true, &mut land);
        let (area, middle) = centroid(&ring);
        match labels.iter_mut().find(|(_, _, name)| *name == country.name) {
            Some(known) if known.0 < area => *known = (area, middle, country.name),
            Some(_) => {}
            None => labels.push((area, middle, country.name)),
        }
    }
    let marks: Vec<Point> = [scene.pin, scene.truth].into_iter().flatten().map(|at| projection.project(at)).collect();
    labels.retain(|(area, (x, y), name)| {
        let half = name.chars().count() as f64 * 4.6;
        let is_hidden = |mark: &Point| (mark.0 - x).abs() < half + 16.0 && (-34.0..14.0).contains(&(y - mark.1));
        *area > NAMED * WIDTH * HEIGHT && (half..WIDTH - half).contains(x) && !marks.iter().any(is_hidden)
    });
    let trace = |outline: &[LatLng], path: &mut String| line(projection.cut(outline.iter().copied()), true, path);
    let line_path = scene.pin.zip(scene.truth).map(|(pin, truth)| {
        let mut line_path = String::new();
        line(great_circle(truth, pin).map(|at| projection.project(at)), false, &mut line_path);
        line_path
    });
    let bar_m = projection.bar_m();
    let bar = bar_m / EARTH_RADIUS_M * projection.pixels_per_radian;
    Some(html! {
        svg.map.detail viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(name) {
            rect.sea width=(WIDTH) height=(HEIGHT) {}
            path.land d=(land) vector-effect="non-scaling-stroke" {}
            (heat(scene.heat_cells, trace))
            @for (_, (x, y), name) in &labels { text.country paint-order="stroke" x=(format!("{x:.0}")) y=(format!("{y:.0}")) { (name) } }
            @if let Some(line_path) = line_path { path.way d=(line_path) vector-effect="non-scaling-stroke" {} }
            @for at in scene.candidates.iter().filter(|at| projection.shows(**at)) { (mark("candidate", projection.project(*at), 1.0)) }
            @if let Some(truth) = scene.truth { (mark("truth", projection.project(truth), 1.5)) }
            @if let Some(pin) = scene.pin { (mark("pin", projection.project(pin), 1.6)) }
            path.bar d=(format!("M16 {}v6h{bar:.1}v-6", HEIGHT - 22.0)) {}
            text.scale paint-order="stroke" x=(format!("{:.1}", 22.0 + bar)) y=(HEIGHT - 14.0) { (format::distance(bar_m)) }
        }
    })
}

/// Removes points of a polygon that are closer than the resolution.
fn thin(ring: Vec<Point>) -> Vec<Point> {
    let mut thinned: Vec<Point> = Vec::with_capacity(ring.len());
    for (x, y) in ring {
        if thinned.last().is_none_or(|last| (last.0 - x).hypot(last.1 - y) > COARSE) {
            thinned.push((x, y));
        }
    }
    thinned
}

/// Area and centroid of a polygon.
fn centroid(ring: &[Point]) -> (f64, Point) {
    let (mut area, mut x, mut y) = (0.0, 0.0, 0.0);
    for (i, a) in ring.iter().enumerate() {
        let b = ring[(i + 1) % ring.len()];
        let cross = a.0 * b.1 - b.0 * a.1;
        (area, x, y) = (area + cross / 2.0, x + (a.0 + b.0) * cross / 6.0, y + (a.1 + b.1) * cross / 6.0);
    }
    if area.abs() < 1e-9 { (0.0, (0.0, 0.0)) } else { (area.abs(), (x / area, y / area)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scene(pin: (f64, f64), truth: (f64, f64)) -> MapScene<'static> {
        let at = |(lat, lng)| LatLng::new(lat, lng).ok();
        MapScene { heat_cells: &[], candidates: Vec::new(), pin: at(pin), truth: at(truth) }
    }

    #[test]
    fn a_pin_100_km_off_is_distinguishable() {
        let scene = scene((48.0, 2.0), (48.9, 2.0));
        let projection = AzimuthalProjection::around(&scene).unwrap();
        let (pin, truth) = (projection.project(scene.pin.unwrap()), projection.project(scene.truth.unwrap()));
        assert!((pin.1 - truth.1 - 266.7).abs() < 1.0, "{pin:?} {truth:?}"); // 100 of 180 kilometres
        assert!(projection.shows(scene.pin.unwrap()) && projection.shows(scene.truth.unwrap()));
        assert_eq!(projection.bar_m(), 50_000.0);
    }

    #[test]
    fn distant_truths_show_the_surroundings_of_the_pin() {
        let scene = scene((48.0, 2.0), (-33.0, 151.0));
        let projection = AzimuthalProjection::around(&scene).unwrap();
        assert!(projection.shows(scene.pin.unwrap()) && !projection.shows(scene.truth.unwrap()));
    }

    #[test]
    fn the_other_hemisphere_is_not_drawn() {
        // New Zealand is the antipode of Spain and would cover the whole outer region of this projection.
        let drawn = detail(&scene((40.0, -4.0), (39.0, -3.0)), "a<b").unwrap().into_string();
        assert!(
            drawn.contains(">Spain</text>") && !drawn.contains("New Zealand") && drawn.contains("a&lt;b"),
            "{drawn}"
        );
        assert!(detail(&MapScene { pin: None, truth: None, ..scene((0.0, 0.0), (0.0, 0.0)) }, "").is_none());
        let fiji = detail(&scene((-17.8, 179.9), (-16.5, -179.9)), "").unwrap().into_string();
        assert!(fiji.len() > 1000 && fiji.len() < 60_000);
    }
}
