//! `locate --out places.html`: one file with a map, a dot for every photograph, and a table. It needs no script and
//! fetches nothing.

use std::io::Cursor;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use landfall_common::exit::environment_error;
use landfall_common::text::sanitize_line;
use landfall_model::LatLng;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::photos::locate::LocatedPhoto;
use crate::photos::map_section::{MapSection, WIDTH};
use crate::thumbnail::fit_within;

/// Sides of a small picture on the page at most, in pixels; shown at half of that, for fine screens.
const THUMBNAIL_SIZE_PX: (u32, u32) = (288, 144);
/// JPEG quality of a small picture.
const JPEG_QUALITY: u8 = 72;
/// So many dots have numbers; more would hide each other.
const MAX_NUMBERED_DOTS: usize = 99;
/// So many rings are shown at once; of more each is shown at its dot alone.
const MAX_RINGS: usize = 12;
/// A ring of more metres says nothing: the dot is hollow.
const MAX_RING_RADIUS_M: f64 = 2_500_000.0;
/// Radius of a dot with a number and of one without, in units of the map.
const DOT_RADII: (f64, f64) = (24.0, 11.0);

/// A photograph on the page.
pub struct Photo {
    /// What it is called there.
    pub name: String,
    /// The answer.
    pub located: LocatedPhoto,
    /// A small picture of it, a JPEG.
    pub thumbnail: Thumbnail,
}

/// A small picture.
pub struct Thumbnail {
    jpeg: Vec<u8>,
    width: u32,
    height: u32,
}

impl Thumbnail {
    /// A photograph made small.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn new(picture: &RgbImage) -> Result<Self> {
        let small = fit_within(picture, THUMBNAIL_SIZE_PX);
        let mut jpeg = Cursor::new(Vec::new());
        small
            .write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY))
            .context(environment_error("a small picture for the page cannot be made"))?;
        Ok(Self { jpeg: jpeg.into_inner(), width: small.width(), height: small.height() })
    }

    fn data_url(&self) -> String {
        format!("data:image/jpeg;base64,{}", STANDARD.encode(&self.jpeg))
    }
}

/// The page; `left_out` photographs could not be located.
pub fn page(photos: &[Photo], left_out: usize) -> String {
    let bundle = photos.first().map_or("", |photo| &photo.located.bundle);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing is fetched, whatever a file's name tries.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'";
                title { "Where these pictures seem to have been taken" }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                header {
                    h1 { "Where these pictures seem to have been taken" }
                    p {
                        (count_pictures(photos.len())) ", guessed from the pixels alone. A guess is mostly hundreds of kilometres off: "
                        "a ring around a dot holds half of the probability, and a hollow dot may be anywhere."
                        @if left_out > 0 { " " (count_pictures(left_out)) " could not be read." }
                    }
                }
                main {
                    div.wide { (map(photos)) }
                    div.wide { (table(photos)) }
                }
                footer { "Landfall, bundle " (bundle) ". Borders: Natural Earth. Place names: GeoNames, CC BY 4.0." }
            }
        }
    };
    page.into_string()
}

fn count_pictures(n: usize) -> String {
    format!("{n} {}", if n == 1 { "picture" } else { "pictures" })
}

fn point_of(photo: &Photo) -> LatLng {
    LatLng { lat: photo.located.lat, lng: photo.located.lng }
}

fn map(photos: &[Photo]) -> Markup {
    let ring = |photo: &Photo| photo.located.radius_km.p50 * 1000.0;
    let view = MapSection::around(&photos.iter().map(|photo| (point_of(photo), ring(photo))).collect::<Vec<_>>());
    let is_numbered = photos.len() <= MAX_NUMBERED_DOTS;
    let radius = if is_numbered { DOT_RADII.0 } else { DOT_RADII.1 };
    let places: Vec<(f64, f64)> = photos.iter().map(|photo| view.project(point_of(photo))).collect();
    let dots = if is_numbered { separate_dots(&places, radius, view.height) } else { places.clone() };
    let is_sure = |photo: &&Photo| ring(photo) <= MAX_RING_RADIUS_M;
    let rings = if photos.len() <= MAX_RINGS { photos } else { &[] };
    let number = |x: f64| format!("{x:.1}");
    html! {
        svg.map viewBox=(format!("0 0 {WIDTH} {:.0}", view.height)) role="group" aria-label="Map of the guesses" {
            @for path in view.land() { path.land d=(path) {} }
            @for photo in rings.iter().filter(is_sure) { path.within d=(view.circle(point_of(photo), ring(photo))) {} }
            @for (place, dot) in places.iter().zip(&dots).filter(|(place, dot)| place != dot) {
                line.lead x1=(number(place.0)) y1=(number(place.1)) x2=(number(dot.0)) y2=(number(dot.1)) {}
            }
            @for (i, (photo, (x, y))) in photos.iter().zip(&dots).enumerate() {
                @let said = format!("{}: {}, {}", i + 1, sanitize_line(&photo.name), photo.located.place);
                a.dot.unsure[!is_sure(&photo)] id=(format!("dot-{}", i + 1)) href=(format!("#photo-{}", i + 1)) aria-label=(said) {
                    title { (said) }
                    @if rings.is_empty() { path.within d=(view.circle(point_of(photo), ring(photo))) {} }
                    circle cx=(number(*x)) cy=(number(*y)) r=(radius) {}
                    @if is_numbered { text x=(number(*x)) y=(number(*y)) { (i + 1) } }
                }
            }
        }
    }
}

/// Dots for these places, moved where they would hide each other: to the nearest free place on a spiral.
fn separate_dots(places: &[(f64, f64)], radius: f64, height: f64) -> Vec<(f64, f64)> {
    let mut dots: Vec<(f64, f64)> = Vec::new();
    for place in places {
        let is_free = |x: f64, y: f64| {
            let is_on_map = (radius..=WIDTH - radius).contains(&x) && (radius..=height - radius).contains(&y);
            is_on_map && dots.iter().all(|dot| (dot.0 - x).hypot(dot.1 - y) >= 1.9 * radius)
        };
        let spiral = (0..4000).map(|i| {
            let (turn, away) = (f64::from(i) * 2.399_963, radius * 0.35 * f64::from(i).sqrt()); // by the golden angle
            (place.0 + away * turn.cos(), place.1 + away * turn.sin())
        });
        dots.push(spiral.into_iter().find(|(x, y)| is_free(*x, *y)).unwrap_or(*place));
    }
    dots
}

fn table(photos: &[Photo]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th.number scope="col" { "No." }
                    th scope="col" { "Picture" }
                    th scope="col" { "File" }
                    th scope="col" { "Seems to be" }
                    th scope="col" { "Degrees" }
                    th.number scope="col" { "Half within" }
                    th.number scope="col" { "90 % within" }
                }
            }
            tbody {
                @for (i, photo) in photos.iter().enumerate() { (row(i + 1, photo)) }
            }
        }
    }
}

fn row(number: usize, photo: &Photo) -> Markup {
    let Photo { name, located, thumbnail } = photo;
    let km = |km: f64| format!("{km:.0} km");
    html! {
        tr id=(format!("photo-{number}")) {
            td.number { a href=(format!("#dot-{number}")) { (number) } }
            td { img src=(thumbnail.data_url()) width=(thumbnail.width / 2) height=(thumbnail.height / 2) alt=""; }
            td.name { (sanitize_line(name)) }
            td { (located.place) }
            td.place { (format!("{:.3}, {:.3}", located.lat, located.lng)) }
            td.number { (km(located.radius_km.p50)) }
            td.number { (km(located.radius_km.p90)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::prediction::RadiusKm;

    fn photo(name: &str, lat: f64, lng: f64) -> Photo {
        let located = LocatedPhoto {
            image: name.into(),
            lat,
            lng,
            expected_score: 3000.0,
            country: Some("FR"),
            place: "near Lyon, France".to_owned(),
            radius_km: RadiusKm { p50: 200.0, p90: 900.0 },
            top: Vec::new(),
            bundle: "pocket@1".to_owned(),
            heat: Vec::new(),
        };
        Photo { name: name.to_owned(), located, thumbnail: Thumbnail::new(&RgbImage::new(600, 400)).unwrap() }
    }

    #[test]
    fn names_are_text_and_nothing_is_fetched() {
        let hostile = "<script>alert(1)</script>\"'><img src=//example.org/x>\u{202e}gpj.jpg";
        let page = page(&[photo(hostile, 45.7, 4.8), photo("b.jpg", 45.7, 4.8)], 1);
        assert!(page.contains(
            "&lt;script&gt;alert(1)&lt;/script&gt;&quot;'&gt;&lt;img src=//example.org/x&gt;\u{fffd}gpj.jpg"
        ));
        for wrong in ["<script", "<img src=//", "http://", "https://", "url(", "@import", "<link"] {
            assert!(!page.contains(wrong), "{wrong}");
        }
        assert_eq!(page.matches("class=\"dot\"").count(), 2);
        assert!(page.contains("1 picture could not be read") && page.contains("200 km") && page.contains("900 km"));
    }

    #[test]
    fn dots_do_not_hide_each_other() {
        let dots = separate_dots(&[(5.0, 5.0), (5.0, 5.0), (900.0, 400.0), (905.0, 404.0)], 20.0, 800.0);
        for (i, a) in dots.iter().enumerate() {
            assert!((20.0..).contains(&a.0) && (20.0..).contains(&a.1), "{a:?}");
            assert!(dots[..i].iter().all(|b| (a.0 - b.0).hypot(a.1 - b.1) >= 38.0), "{dots:?}");
        }
        assert_eq!(dots[2], (900.0, 400.0));
    }
}
