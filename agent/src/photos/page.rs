//! `locate --out places.html`: a self-contained page with a map, a dot per photo, and a table. It has no scripts and
//! loads no other files.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::RgbImage;
use landfall_common::exit::environment_error;
use landfall_common::picture::{fit_within, to_jpeg};
use landfall_common::text::sanitize_line;
use landfall_model::LatLng;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::photos::candidates::Candidate;
use crate::photos::locate::{Given, LocatedPhoto, percent};
use crate::photos::map_section::{MapSection, WIDTH};

/// Maximum sides of a thumbnail in pixels. It is displayed at half that size for high-resolution screens.
const THUMBNAIL_SIZE_PX: (u32, u32) = (288, 144);
/// JPEG quality of thumbnails.
const JPEG_QUALITY: u8 = 72;
/// Maximum number of numbered dots; more would overlap.
const MAX_NUMBERED_DOTS: usize = 99;
/// Maximum number of rings shown at once; with more, a ring is shown only for the focused dot.
const MAX_RINGS: usize = 12;
/// Radius in metres above which no ring is drawn and the dot is hollow.
const MAX_RING_RADIUS_M: f64 = 2_500_000.0;
/// Radius of dots with and without a number, in map units.
const DOT_RADII: (f64, f64) = (24.0, 11.0);

/// A photo on the page.
pub(crate) struct Photo {
    /// Displayed name.
    pub name: String,
    /// The prediction.
    pub located: LocatedPhoto,
    /// Thumbnail.
    pub thumbnail: Thumbnail,
}

/// A JPEG thumbnail.
pub(crate) struct Thumbnail {
    jpeg: Vec<u8>,
    width: u32,
    height: u32,
}

impl Thumbnail {
    /// Creates the thumbnail of an image.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub(crate) fn new(picture: &RgbImage) -> Result<Self> {
        let small = fit_within(picture, THUMBNAIL_SIZE_PX);
        let jpeg = to_jpeg(&small, JPEG_QUALITY).context(environment_error("cannot create a thumbnail"))?;
        Ok(Self { jpeg, width: small.width(), height: small.height() })
    }

    fn data_url(&self) -> String {
        format!("data:image/jpeg;base64,{}", STANDARD.encode(&self.jpeg))
    }
}

/// The page. `left_out` has a line for each file, or kind of file, that was not located.
pub(crate) fn page(photos: &[Photo], left_out: &[String]) -> String {
    let bundle = photos.first().map_or("", |photo| &photo.located.bundle);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Blocks all requests, in case a file name contains markup.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'";
                title { "Estimated locations of these pictures" }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                header {
                    h1 { "Estimated locations of these pictures" }
                    p {
                        (count_pictures(photos.len())) ", located from the pixels "
                        @if photos.iter().any(|photo| photo.located.given.is_some()) { "and from what else was known. " }
                        @else { "only. " }
                        "Most estimates are off by hundreds of kilometres: "
                        "a ring is a 50 % credible region, and the location of a hollow dot is unknown."
                        @if photos.iter().any(has_alternatives) {
                            " Small dots are other candidates; each percentage is the probability of the circle with the radius beside it."
                        }
                    }
                }
                main {
                    div.wide { (map(photos)) }
                    div.wide { (table(photos)) }
                    @if !left_out.is_empty() {
                        h2 { "Left out" }
                        ul { @for line in left_out { li { (sanitize_line(line)) } } }
                    }
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

/// The candidates after the first, which is the prediction.
fn alternatives(photo: &Photo) -> &[Candidate] {
    photo.located.candidates.as_deref().and_then(|candidates| candidates.get(1..)).unwrap_or_default()
}

fn has_alternatives(photo: &Photo) -> bool {
    !alternatives(photo).is_empty()
}

fn point_of(photo: &Photo) -> LatLng {
    LatLng { lat: photo.located.lat, lng: photo.located.lng }
}

fn map(photos: &[Photo]) -> Markup {
    let ring = |photo: &Photo| photo.located.radius_km.p50 * 1000.0;
    let shown = photos.iter().map(|photo| (point_of(photo), ring(photo)));
    let others =
        photos.iter().enumerate().flat_map(|(i, photo)| alternatives(photo).iter().map(move |other| (i, other)));
    let view = MapSection::around(&shown.chain(others.clone().map(|(_, other)| (other.at, 0.0))).collect::<Vec<_>>());
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
            @for (i, other) in others {
                @let (x, y) = view.project(other.at);
                circle.other cx=(number(x)) cy=(number(y)) r=(DOT_RADII.1) {
                    title { (i + 1) " or " (other.place) ", " (percent(other.p)) }
                }
            }
            @for (i, (photo, (x, y))) in photos.iter().zip(&dots).enumerate() {
                @let label = format!("{}: {}, {}", i + 1, sanitize_line(&photo.name), photo.located.place);
                a.dot.unsure[!is_sure(&photo)] id=(format!("dot-{}", i + 1)) href=(format!("#photo-{}", i + 1)) aria-label=(label) {
                    title { (label) }
                    @if rings.is_empty() { path.within d=(view.circle(point_of(photo), ring(photo))) {} }
                    circle cx=(number(*x)) cy=(number(*y)) r=(radius) {}
                    @if is_numbered { text x=(number(*x)) y=(number(*y)) { (i + 1) } }
                }
            }
        }
    }
}

/// Positions of the dots. Overlapping ones are moved to the nearest free position on a spiral.
fn separate_dots(places: &[(f64, f64)], radius: f64, height: f64) -> Vec<(f64, f64)> {
    let mut dots: Vec<(f64, f64)> = Vec::new();
    for place in places {
        let is_free = |x: f64, y: f64| {
            let is_on_map = (radius..=WIDTH - radius).contains(&x) && (radius..=height - radius).contains(&y);
            is_on_map && dots.iter().all(|dot| (dot.0 - x).hypot(dot.1 - y) >= 1.9 * radius)
        };
        let spiral = (0..4000).map(|i| {
            let (turn, distance) = (f64::from(i) * 2.399_963, radius * 0.35 * f64::from(i).sqrt()); // golden angle
            (place.0 + distance * turn.cos(), place.1 + distance * turn.sin())
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
                    th scope="col" { "Place" }
                    th scope="col" { "Coordinates" }
                    th.number scope="col" { "50 % radius" }
                    th.number scope="col" { "90 % radius" }
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
            td {
                (located.place)
                @if let Some(candidates) = &located.candidates {
                    ol.candidates {
                        @for Candidate { place, p, radius_km, .. } in candidates {
                            li { (place) " (" (percent(*p)) " within " (km(*radius_km)) ")" }
                        }
                    }
                }
                @if let Some(neighbours) = &located.neighbours {
                    p.given { "Similar pictures of the gallery:" }
                    ul.candidates { @for neighbour in neighbours { li { (neighbour) } } }
                }
                @for evidence in located.evidence.iter().flatten() { p.given { "Evidence " (evidence.sentence()) "." } }
                @if let Some(Given { hints, p }) = &located.given {
                    p.given { "given " (sanitize_line(hints.join("; "))) " (" (percent(*p)) " of the probability without it)" }
                }
            }
            td.place { (format!("{:.3}, {:.3}", located.lat, located.lng)) }
            td.number { (km(located.radius_km.p50)) }
            td.number { (km(located.radius_km.p90)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::Prior;
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
            prior: Prior::Photo,
            given: None,
            candidates: None,
            neighbours: None,
            evidence: None,
            regions: Vec::new(),
            heat: Vec::new(),
            warnings: Vec::new(),
        };
        Photo { name: name.to_owned(), located, thumbnail: Thumbnail::new(&RgbImage::new(600, 400)).unwrap() }
    }

    #[test]
    fn names_are_escaped_and_nothing_is_loaded() {
        let hostile = "<script>alert(1)</script>\"'><img src=//example.org/x>\u{202e}gpj.jpg";
        let page = page(
            &[photo(hostile, 45.7, 4.8), photo("b.jpg", 45.7, 4.8)],
            &["<b>c.jpg: not a readable image".to_owned()],
        );
        assert!(page.contains(
            "&lt;script&gt;alert(1)&lt;/script&gt;&quot;'&gt;&lt;img src=//example.org/x&gt;\u{fffd}gpj.jpg"
        ));
        for forbidden in ["<script", "<img src=//", "http://", "https://", "url(", "@import", "<link"] {
            assert!(!page.contains(forbidden), "{forbidden}");
        }
        assert_eq!(page.matches("class=\"dot\"").count(), 2);
        assert!(
            page.contains("<li>&lt;b&gt;c.jpg: not a readable image</li>")
                && page.contains("200 km")
                && page.contains("900 km")
        );
    }

    #[test]
    fn candidates_and_what_was_known_are_shown() {
        let mut photo = photo("a.jpg", 45.7, 4.8);
        let candidate = |place: &str, lng: f64| Candidate {
            at: LatLng { lat: 45.7, lng },
            p: 0.25,
            radius_km: 150.0,
            country: None,
            place: place.to_owned(),
        };
        photo.located.candidates = Some(vec![candidate("near Lyon, France", 4.8), candidate("near Turin, Italy", 7.7)]);
        photo.located.given = Some(Given { hints: vec!["within <b>.geojson".to_owned()], p: 0.031 });
        let page = page(&[photo], &[]);
        assert_eq!((page.matches("class=\"other\"").count(), page.matches("Small dots").count()), (1, 1));
        assert!(page.contains("<li>near Turin, Italy (25 % within 150 km)</li>"), "{page}");
        assert!(page.contains("given within &lt;b&gt;.geojson (3.1 % of the probability without it)"), "{page}");
    }

    #[test]
    fn dots_do_not_overlap() {
        let dots = separate_dots(&[(5.0, 5.0), (5.0, 5.0), (900.0, 400.0), (905.0, 404.0)], 20.0, 800.0);
        for (i, a) in dots.iter().enumerate() {
            assert!((20.0..).contains(&a.0) && (20.0..).contains(&a.1), "{a:?}");
            assert!(dots[..i].iter().all(|b| (a.0 - b.0).hypot(a.1 - b.1) >= 38.0), "{dots:?}");
        }
        assert_eq!(dots[2], (900.0, 400.0));
    }
}
