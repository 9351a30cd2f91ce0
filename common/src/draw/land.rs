//! The land layer: country borders from Natural Earth, as rings or as one SVG path.

use landfall_model::countries::{self, Country};

use super::{Point, svg};

/// The outer ring of every polygon of every country, as (longitude, latitude) in degrees, with its country.
pub fn rings() -> impl Iterator<Item = (&'static Country, impl Iterator<Item = Point> + Clone)> {
    countries::all().iter().flat_map(|country| {
        country.shape.0.iter().map(move |polygon| (country, polygon.exterior().0.iter().map(|at| (at.x, at.y))))
    })
}

/// All land but Antarctica as one SVG path with integer coordinates; `project` maps (longitude, latitude) in degrees to the
/// drawing.
pub fn svg_path(project: impl Fn(Point) -> Point) -> String {
    let mut path = String::new();
    for (_, ring) in rings().filter(|(country, _)| country.iso2 != "AQ") {
        svg::closed_path(ring.map(&project), &mut path);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_has_borders() {
        let (mut names, mut points) = (std::collections::BTreeSet::new(), 0);
        for (country, ring) in rings() {
            names.insert(country.iso2);
            points += ring.count();
        }
        assert!(names.len() > 200 && points > 50_000, "{} {points}", names.len());
    }

    #[test]
    fn the_path_is_small_enough_to_embed() {
        let path = svg_path(|(lng, lat)| ((lng + 180.0) * 3.0, (90.0 - lat) * 3.0));
        assert!(path.starts_with('M') && (20_000..300_000).contains(&path.len()), "{}", path.len());
    }
}
