//! The projection of a tile map, computed from the visible tiles without access to the map object.

use regex::Regex;
use serde::Deserialize;

use crate::geometry::Pixel;
use crate::play::pin::projection::Projection;

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
}

impl Tile {
    /// The tile, moved right and down.
    pub(crate) fn moved_by(self, by: Pixel) -> Self {
        Self { x: self.x + by.x, y: self.y + by.y, ..self }
    }
}

impl Projection {
    /// The projection that all tiles agree on. `None` if there are no tiles or they disagree, as while the map moves or
    /// zooms.
    pub(crate) fn of(tiles: &[Tile], addresses: &[Regex]) -> Option<Self> {
        let mut found: Option<Self> = None;
        for tile in tiles {
            let Some((z, x, y)) = addresses.iter().find_map(|address| coordinates(&tile.src, address)) else {
                continue;
            };
            let world = tile.width * f64::from(2u32.checked_pow(z)?);
            let corner = Pixel { x: tile.x - x * tile.width, y: tile.y - y * tile.width };
            match &found {
                None => found = Some(Self { world, corner }),
                Some(other) => {
                    // Copies of the world are whole world widths apart.
                    let worlds_apart = (corner.x - other.corner.x) / world;
                    let agrees = (world - other.world).abs() < 1.0
                        && (corner.y - other.corner.y).abs() < 1.5
                        && (worlds_apart - worlds_apart.round()).abs() * world < 1.5;
                    if !agrees {
                        return None;
                    }
                }
            }
        }
        found
    }
}

fn coordinates(src: &str, address: &Regex) -> Option<(u32, f64, f64)> {
    let found = address.captures(src)?;
    Some((
        found.name("z")?.as_str().parse().ok()?,
        found.name("x")?.as_str().parse().ok()?,
        found.name("y")?.as_str().parse().ok()?,
    ))
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
        Tile { src: src.to_owned(), x, y, width: 256.0 }
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
        assert_eq!(coordinates("https://h/vt?pb=!1m5!1m4!1i3!2i5!3i2!4i256", &addresses()[1]), Some((3, 5.0, 2.0)));
    }
}
