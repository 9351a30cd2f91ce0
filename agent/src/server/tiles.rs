//! Map tiles in Web Mercator, drawn offline from the countries of Natural Earth.

use std::sync::OnceLock;

use anyhow::{Context, Result};
use landfall_common::draw::clip::clip_to_rect;
use landfall_common::draw::{Point, mercator};
use landfall_model::{LatLng, countries};
use tiny_skia::{Color, FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, Transform};

/// Maximum zoom.
pub(super) const MAX_ZOOM: u32 = 10;

const TILE_SIDE_PX: f64 = 256.0;
/// Margin in pixels drawn beyond the edge of a tile, so that strokes do not end there.
const MARGIN_PX: f64 = 8.0;

// Muted colours: the pin and the line to the truth must stand out.
const SEA: [u8; 4] = [0xb3, 0xd3, 0xe4, 0xff];
const SHALLOWS: [u8; 4] = [0xc5, 0xdf, 0xec, 0xff];
const GRATICULE: [u8; 4] = [0xff, 0xff, 0xff, 0x5c];
const LAND: [u8; 4] = [0xf6, 0xf2, 0xe7, 0xff];
const ICE: [u8; 4] = [0xfb, 0xfb, 0xf8, 0xff];
const BORDER: [u8; 4] = [0x9a, 0x8f, 0x9f, 0xd8];

/// A valid tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TileId {
    z: u32,
    x: u32,
    y: u32,
}

impl TileId {
    /// `x` wraps around. `None` beyond the poles or the maximum zoom.
    pub(super) fn new(z: u32, x: i64, y: i64) -> Option<Self> {
        if z > MAX_ZOOM {
            return None;
        }
        let count = 1_i64 << z;
        let y = u32::try_from(y).ok().filter(|&y| i64::from(y) < count)?;
        Some(Self { z, x: u32::try_from(x.rem_euclid(count)).ok()?, y })
    }

    /// Transformation from the unit square of the map to pixels of this tile: (scale, left, top).
    fn frame(self) -> (f64, f64, f64) {
        let scale = TILE_SIDE_PX * f64::from(1_u32 << self.z);
        (scale, f64::from(self.x) * TILE_SIDE_PX, f64::from(self.y) * TILE_SIDE_PX)
    }
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    min: Point,
    max: Point,
}

impl Bounds {
    fn of(points: &[Point]) -> Self {
        let start = Self { min: (f64::INFINITY, f64::INFINITY), max: (f64::NEG_INFINITY, f64::NEG_INFINITY) };
        points.iter().fold(start, |b, p| Self {
            min: (b.min.0.min(p.0), b.min.1.min(p.1)),
            max: (b.max.0.max(p.0), b.max.1.max(p.1)),
        })
    }

    fn longest_side(&self) -> f64 {
        (self.max.0 - self.min.0).max(self.max.1 - self.min.1)
    }

    fn intersects(&self, other: &Self) -> bool {
        self.min.0 <= other.max.0 && other.min.0 <= self.max.0 && self.min.1 <= other.max.1 && other.min.1 <= self.max.1
    }
}

/// A closed ring of a border on the unit square: the last point equals the first.
struct Ring {
    points: Vec<Point>,
    bounds: Bounds,
}

/// A polygon: an outer ring followed by holes.
struct LandPolygon {
    rings: Vec<Ring>,
    ice: bool,
}

/// Maximum zoom of each level of detail. Each level omits points closer than half a pixel at that zoom, and smaller
/// islands.
const LEVEL_MAX_ZOOM: [u32; 5] = [0, 1, 3, 5, MAX_ZOOM];

fn polygons(z: u32) -> &'static [LandPolygon] {
    static LEVELS: [OnceLock<Vec<LandPolygon>>; LEVEL_MAX_ZOOM.len()] =
        [const { OnceLock::new() }; LEVEL_MAX_ZOOM.len()];
    let level = LEVEL_MAX_ZOOM.iter().position(|&finest| z <= finest).unwrap_or(LEVEL_MAX_ZOOM.len() - 1);
    LEVELS[level].get_or_init(|| {
        let step = 0.5 / (TILE_SIDE_PX * f64::from(1_u32 << LEVEL_MAX_ZOOM[level]));
        countries::all()
            .iter()
            .flat_map(|country| country.shape.0.iter().map(move |polygon| (country.iso2, polygon)))
            .map(|(iso2, polygon)| {
                let rings = std::iter::once(polygon.exterior()).chain(polygon.interiors());
                let rings = rings.map(|line| {
                    simplified_ring(line.0.iter().map(|c| mercator::project(LatLng { lat: c.y, lng: c.x })), step)
                });
                LandPolygon { rings: rings.collect(), ice: matches!(iso2, "AQ" | "GL") }
            })
            .filter(|shape| shape.rings.first().is_some_and(|outer| outer.bounds.longest_side() >= step))
            .collect()
    })
}

fn simplified_ring(points: impl Iterator<Item = Point>, step: f64) -> Ring {
    let points: Vec<Point> = points.collect();
    let mut kept: Vec<Point> = Vec::new();
    for (i, point) in points.iter().enumerate() {
        let far = kept.last().is_none_or(|last| (point.0 - last.0).abs().max((point.1 - last.1).abs()) >= step);
        if far || i + 1 == points.len() {
            kept.push(*point);
        }
    }
    Ring { bounds: Bounds::of(&kept), points: kept }
}

/// A PNG of 256 × 256 pixels.
///
/// # Errors
/// When the PNG cannot be encoded.
pub(super) fn draw(tile: TileId) -> Result<Vec<u8>> {
    let (scale, left, top) = tile.frame();
    let window = Bounds {
        min: ((left - MARGIN_PX) / scale, (top - MARGIN_PX) / scale),
        max: ((left + TILE_SIDE_PX + MARGIN_PX) / scale, (top + TILE_SIDE_PX + MARGIN_PX) / scale),
    };
    let to_px = |(x, y): Point| [(x * scale - left) as f32, (y * scale - top) as f32];

    let (mut land, mut ice, mut coast) = (PathBuilder::new(), PathBuilder::new(), PathBuilder::new());
    for shape in
        polygons(tile.z).iter().filter(|shape| shape.rings.first().is_some_and(|r| r.bounds.intersects(&window)))
    {
        let fill = if shape.ice { &mut ice } else { &mut land };
        for ring in shape.rings.iter().filter(|ring| ring.bounds.intersects(&window)) {
            add_polygon(fill, &clip_to_rect(ring.points.clone(), window.min, window.max), to_px);
            add_lines(&mut coast, &ring.points, &window, to_px);
        }
    }
    let coast = coast.finish();

    let mut pixels = Pixmap::new(TILE_SIDE_PX as u32, TILE_SIDE_PX as u32).context("a tile has no size")?;
    pixels.fill(color(SEA));
    if let Some(coast) = &coast {
        stroke(&mut pixels, coast, SHALLOWS, if tile.z < 3 { 1.9 } else { 6.0 });
    }
    if let Some(lines) = graticule(tile, to_px) {
        stroke(&mut pixels, &lines, GRATICULE, 1.0);
    }
    for (path, fill) in [(land.finish(), LAND), (ice.finish(), ICE)] {
        if let Some(path) = path {
            pixels.fill_path(&path, &paint(fill), FillRule::EvenOdd, Transform::identity(), None);
        }
    }
    if let Some(coast) = &coast {
        stroke(&mut pixels, coast, BORDER, if tile.z < 3 { 0.5 } else { 0.9 });
    }
    pixels.encode_png().context("cannot encode a tile")
}

fn color([r, g, b, a]: [u8; 4]) -> Color {
    Color::from_rgba8(r, g, b, a)
}

fn paint(fill: [u8; 4]) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color(color(fill));
    paint
}

fn stroke(pixels: &mut Pixmap, path: &Path, ink: [u8; 4], width: f32) {
    // Round joins are expensive and invisible on thin lines.
    let (line_cap, line_join) =
        if width < 2.0 { (LineCap::Butt, LineJoin::Bevel) } else { (LineCap::Round, LineJoin::Round) };
    let stroke = Stroke { width, line_cap, line_join, ..Stroke::default() };
    pixels.stroke_path(path, &paint(ink), &stroke, Transform::identity(), None);
}

fn add_polygon(path: &mut PathBuilder, points: &[Point], to_px: impl Fn(Point) -> [f32; 2]) {
    if points.len() < 3 {
        return;
    }
    for (i, &point) in points.iter().enumerate() {
        let [x, y] = to_px(point);
        if i == 0 { path.move_to(x, y) } else { path.line_to(x, y) }
    }
    path.close();
}

/// The edges of a ring inside the window, except those along the date line and the pole that only close the polygon.
fn add_lines(path: &mut PathBuilder, ring: &[Point], window: &Bounds, to_px: impl Fn(Point) -> [f32; 2]) {
    let mut pen_down = false;
    for edge in ring.windows(2) {
        if on_map_edge(edge[0], edge[1]) || !Bounds::of(edge).intersects(window) {
            pen_down = false;
            continue;
        }
        if !pen_down {
            let [x, y] = to_px(edge[0]);
            path.move_to(x, y);
            pen_down = true;
        }
        let [x, y] = to_px(edge[1]);
        path.line_to(x, y);
    }
}

fn on_map_edge(a: Point, b: Point) -> bool {
    const NEAR: f64 = 1e-5;
    let both = |a: f64, b: f64, edge: f64| (a - edge).abs() < NEAR && (b - edge).abs() < NEAR;
    [0.0, 1.0].into_iter().any(|edge| both(a.0, b.0, edge) || both(a.1, b.1, edge))
}

/// Meridians and parallels, denser at higher zoom.
fn graticule(tile: TileId, to_px: impl Fn(Point) -> [f32; 2]) -> Option<Path> {
    let step = match tile.z {
        0..=2 => 30_i32,
        3..=4 => 10,
        5..=6 => 5,
        _ => 1,
    };
    let mut path = PathBuilder::new();
    let within = |px: f32| (-1.0..=TILE_SIDE_PX as f32 + 1.0).contains(&px);
    let end = TILE_SIDE_PX as f32;
    // Offset by half a pixel, so that a line fills one row of pixels.
    for lng in (-180..=180).step_by(step as usize) {
        let x = to_px(mercator::project(LatLng { lat: 0.0, lng: lng.into() }))[0].round() + 0.5;
        if within(x) {
            path.move_to(x, 0.0);
            path.line_to(x, end);
        }
    }
    for lat in (-90 + step..90).step_by(step as usize) {
        let y = to_px(mercator::project(LatLng { lat: lat.into(), lng: 0.0 }))[1].round() + 0.5;
        if within(y) {
            path.move_to(0.0, y);
            path.line_to(end, y);
        }
    }
    path.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The colour of the map at a place and zoom.
    fn color_at(z: u32, lat: f64, lng: f64) -> [u8; 4] {
        let (x, y) = mercator::project(LatLng { lat, lng });
        let count = f64::from(1_u32 << z);
        let tile = TileId::new(z, (x * count) as i64, (y * count) as i64).unwrap();
        let (scale, left, top) = tile.frame();
        let pixels = image::load_from_memory(&draw(tile).unwrap()).unwrap().to_rgba8();
        assert_eq!(pixels.dimensions(), (256, 256));
        pixels.get_pixel((x * scale - left) as u32, (y * scale - top) as u32).0
    }

    #[test]
    fn tiles_wrap_eastwards_and_end_at_the_poles() {
        assert_eq!(TileId::new(2, -1, 0), TileId::new(2, 3, 0));
        assert_eq!(TileId::new(2, 7, 3), TileId::new(2, 3, 3));
        for (z, x, y) in [(2, 0, 4), (2, 0, -1), (MAX_ZOOM + 1, 0, 0)] {
            assert_eq!(TileId::new(z, x, y), None);
        }
    }

    #[test]
    fn land_and_sea_have_their_colours_at_every_zoom() {
        for z in 0..=MAX_ZOOM {
            for (lat, lng) in [(46.6, 2.4), (61.7, 101.3), (-24.3, 133.2), (40.3, -100.2)] {
                assert_eq!(color_at(z, lat, lng), LAND, "zoom {z} at {lat}, {lng}");
            }
            for (lat, lng) in [(-35.3, -20.2), (31.3, -47.1), (-5.2, 82.3)] {
                assert_eq!(color_at(z, lat, lng), SEA, "zoom {z} at {lat}, {lng}");
            }
        }
        assert_eq!(color_at(6, 42.1, 51.2), SEA, "the Caspian Sea");
        assert_eq!(color_at(3, -80.1, 45.0), ICE);
    }

    #[test]
    fn the_date_line_is_not_drawn_through_land() {
        assert_eq!(color_at(5, 67.5, 179.999), LAND);
        assert_eq!(color_at(5, 67.5, -179.999), LAND);
    }
}
