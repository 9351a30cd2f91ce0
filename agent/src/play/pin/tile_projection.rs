//! The projection of a tile map, computed from the visible tiles without access to the map object.

use regex::Regex;
use serde::Deserialize;

use crate::geometry::Pixel;
use crate::play::pin::projection::Projection;
use crate::site::page::TileRows;

/// An image tile: its URL and rectangle in CSS pixels.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(crate) struct Tile {
    /// URL of the image.
    pub src: String,
    /// Distance from the left edge of the viewport.
    pub x: f64,
    /// Distance from the top edge of the viewport.
    pub y: f64,
    /// Width; tiles are square.
    pub width: f64,
    /// Area of the part that lies in the map's box, in square pixels, if it was measured.
    #[serde(default)]
    pub area: Option<f64>,
}

impl Tile {
    /// The tile, moved right and down.
    pub(crate) fn moved_by(self, by: Pixel) -> Self {
        Self { x: self.x + by.x, y: self.y + by.y, ..self }
    }
}

/// Tiles that agree on a projection, such as those of one map.
struct TileGroup {
    projection: Projection,
    area: f64,
}

/// A group of tiles that disagree with the largest one is ignored up to this fraction of its area: overview maps, and
/// tiles of an earlier zoom that lie below.
const MAX_STRAY_AREA: f64 = 0.4;

impl Projection {
    /// The projection that the tiles agree on. `None` if there are no tiles or they disagree, as while the map moves or
    /// zooms.
    pub(crate) fn of(tiles: &[Tile], addresses: &[Regex]) -> Option<Self> {
        Self::with_rows(tiles, addresses, None).map(|(projection, _)| projection)
    }

    /// As [`Projection::of`], and how the rows are counted: as `known`, else as the larger part of the tiles agrees.
    pub(crate) fn with_rows(tiles: &[Tile], addresses: &[Regex], known: Option<TileRows>) -> Option<(Self, TileRows)> {
        let placed: Vec<(&Tile, TileAddress)> = tiles
            .iter()
            .filter_map(|tile| Some((tile, addresses.iter().find_map(|of| coordinates(&tile.src, of))?)))
            .collect();
        let of_rows = |rows: TileRows| {
            let mut groups = groups(&placed, rows);
            groups.sort_by(|a, b| b.area.total_cmp(&a.area));
            let strays: f64 = groups.iter().skip(1).map(|group| group.area).sum();
            let first = groups.into_iter().next()?;
            Some((first.projection, first.area, strays <= MAX_STRAY_AREA * first.area))
        };
        let rows = match known {
            Some(rows) => rows,
            None => {
                let area = |rows: TileRows| of_rows(rows).map_or(0.0, |(_, area, _)| area);
                let is_south = area(TileRows::FromSouth) > 1.5 * area(TileRows::FromNorth);
                if is_south { TileRows::FromSouth } else { TileRows::FromNorth }
            }
        };
        of_rows(rows).filter(|(.., agrees)| *agrees).map(|(projection, ..)| (projection, rows))
    }
}

/// The tiles grouped by the projection that they agree on. Tiles that are not on display are left out.
fn groups(tiles: &[(&Tile, TileAddress)], rows: TileRows) -> Vec<TileGroup> {
    let mut groups: Vec<TileGroup> = Vec::new();
    for (tile, at) in tiles {
        let area = tile.area.unwrap_or(tile.width * tile.width);
        let Some(count) = 2u32.checked_pow(at.z).map(f64::from) else { continue };
        if area <= 0.0 || tile.width <= 0.0 {
            continue;
        }
        let y = match (rows, at.from_south) {
            (TileRows::FromNorth, false) | (TileRows::FromSouth, true) => at.y,
            _ => count - 1.0 - at.y,
        };
        let world = tile.width * count;
        let corner = Pixel { x: tile.x - at.x * tile.width, y: tile.y - y * tile.width };
        let agrees = |group: &&mut TileGroup| {
            let other = &group.projection;
            // Copies of the world are whole world widths apart.
            let worlds_apart = (corner.x - other.corner.x) / world;
            (world - other.world).abs() < 1.0
                && (corner.y - other.corner.y).abs() < 1.5
                && (worlds_apart - worlds_apart.round()).abs() * world < 1.5
        };
        match groups.iter_mut().find(agrees) {
            Some(group) => group.area += area,
            None => groups.push(TileGroup { projection: Projection { world, corner }, area }),
        }
    }
    groups
}

/// Zoom, column and row of a tile.
#[derive(Clone, Copy, Debug, PartialEq)]
struct TileAddress {
    z: u32,
    x: f64,
    y: f64,
    /// Whether the address itself says that the row is counted from the south.
    from_south: bool,
}

fn coordinates(src: &str, address: &Regex) -> Option<TileAddress> {
    let found = address.captures(src)?;
    let text = |name: &str| found.name(name).map(|group| group.as_str());
    if let Some(key) = text("quadkey") {
        let digits: Option<Vec<u32>> = key.chars().map(|digit| digit.to_digit(4)).collect();
        let fold =
            |shift: u32| digits.iter().flatten().fold(0.0, |sum, digit| 2.0 * sum + f64::from((digit >> shift) & 1));
        let z = u32::try_from(digits.as_ref()?.len()).ok()?;
        return Some(TileAddress { z, x: fold(0), y: fold(1), from_south: false });
    }
    let from_south = text("tms_y").is_some();
    Some(TileAddress {
        z: text("z")?.parse().ok()?,
        x: text("x")?.parse().ok()?,
        y: text("y").or(text("tms_y"))?.parse().ok()?,
        from_south,
    })
}

#[cfg(test)]
mod tests {
    use landfall_model::LatLng;

    use super::*;

    fn addresses() -> Vec<Regex> {
        vec![
            Regex::new(r"/(?<z>\d+)/(?<x>-?\d+)/(?<y>\d+)\.png").unwrap(),
            Regex::new(r"!1i(?<z>\d+)!2i(?<x>\d+)!3i(?<y>\d+)").unwrap(),
        ]
    }

    fn tile(src: &str, x: f64, y: f64) -> Tile {
        Tile { src: src.to_owned(), x, y, width: 256.0, area: None }
    }

    #[test]
    fn projection_from_tiles() {
        // At zoom 1 the world is 512 px; tile 1/1/0 starts at longitude 0, whose equator is its lower edge.
        let map = Projection::of(&[tile("http://h/tiles/1/1/0.png", 300.0, 20.0)], &addresses()).unwrap();
        let origin = map.pixel(LatLng { lat: 0.0, lng: 0.0 }, Pixel { x: 300.0, y: 0.0 });
        assert!((origin.x - 300.0).abs() < 1e-9 && (origin.y - 276.0).abs() < 1e-9);
        let lyon = LatLng { lat: 45.76, lng: 4.83 };
        let back = map.place(map.pixel(lyon, origin));
        assert!(back.distance_m(lyon) < 1e-3, "{back}");
        assert!((map.metres_per_pixel(LatLng { lat: 0.0, lng: 0.0 }) - 78_184.0).abs() < 1.0);
    }

    #[test]
    fn copies_of_the_world_agree_and_the_nearest_is_used() {
        let tiles = [tile("/1/1/0.png", 300.0, 20.0), tile("/1/1/0.png", 812.0, 20.0), tile("/1/0/1.png", 44.0, 276.0)];
        let map = Projection::of(&tiles, &addresses()).unwrap();
        let pixel = map.pixel(LatLng { lat: 0.0, lng: 179.0 }, Pixel { x: 40.0, y: 0.0 });
        assert!((pixel.x - 42.6).abs() < 0.1, "{pixel:?}");
    }

    #[test]
    fn moving_maps_have_no_projection() {
        let tiles = [tile("/1/1/0.png", 300.0, 20.0), tile("/2/1/0.png", 300.0, 20.0)];
        assert!(Projection::of(&tiles, &addresses()).is_none());
        assert!(Projection::of(&[], &addresses()).is_none());
        assert!(Projection::of(&[tile("/logo.svg", 0.0, 0.0)], &addresses()).is_none());
    }

    #[test]
    fn reads_query_style_tile_urls() {
        let expected = TileAddress { z: 3, x: 5.0, y: 2.0, from_south: false };
        assert_eq!(coordinates("https://h/vt?pb=!1m5!1m4!1i3!2i5!3i2!4i256", &addresses()[1]), Some(expected));
    }

    #[test]
    fn rows_from_the_south_and_quadkeys() {
        // A block of four tiles at zoom 2; TMS counts its rows 2 and 1 from the south.
        let block = |row: fn(u32) -> u32| -> Vec<Tile> {
            let at =
                |x: u32, y: u32| tile(&format!("/2/{x}/{}.png", row(y)), f64::from(x) * 256.0, f64::from(y) * 256.0);
            [(1, 1), (2, 1), (1, 2), (2, 2)].map(|(x, y)| at(x, y)).into()
        };
        let corner = Pixel { x: 0.0, y: 0.0 };
        let expected = Projection { world: 1024.0, corner };
        let of = |tiles: &[Tile], known| Projection::with_rows(tiles, &addresses(), known);
        assert_eq!(of(&block(|y| y), None), Some((expected, TileRows::FromNorth)));
        assert_eq!(of(&block(|y| 3 - y), None), Some((expected, TileRows::FromSouth)));
        // One row says nothing; what was known before then counts.
        let row = &block(|y| 3 - y)[..2];
        assert_eq!(of(row, Some(TileRows::FromSouth)), Some((expected, TileRows::FromSouth)));
        let tms = Regex::new(r"/(?<z>\d+)/(?<x>\d+)/(?<tms_y>\d+)\.png").unwrap();
        assert_eq!(Projection::of(&block(|y| 3 - y), &[tms]), Some(expected));
        let quadkey = Regex::new(r"/q/(?<quadkey>[0-3]+)\.png").unwrap();
        assert_eq!(Projection::of(&[tile("/q/12.png", 512.0, 256.0)], &[quadkey]), Some(expected));
    }

    #[test]
    fn overview_maps_and_hidden_tiles_do_not_count() {
        let large = tile("/1/1/0.png", 300.0, 20.0);
        let overview = Tile { area: Some(6000.0), ..tile("/0/0/0.png", 400.0, 100.0) };
        let hidden = Tile { area: Some(0.0), ..tile("/3/1/0.png", 0.0, 0.0) };
        let map = Projection::of(&[overview.clone(), large.clone(), hidden], &addresses()).unwrap();
        assert_eq!(map, Projection::of(std::slice::from_ref(&large), &addresses()).unwrap());
        // As large as the map itself: it is not known which is the map.
        let other = Tile { area: None, ..overview };
        assert!(Projection::of(&[other, large], &addresses()).is_none());
    }
}
