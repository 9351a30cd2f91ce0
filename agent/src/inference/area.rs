//! A prior from the area of a map: bounds or countries that its places are known to lie in.

use landfall_model::Posterior;
use landfall_model::cells::Cell;

use crate::record::Area;

/// Log prior of a cell outside the area. Bounds and borders are rough, so no cell is impossible.
const LOG_PRIOR_OUTSIDE: f64 = -7.0;
const METRES_PER_DEGREE: f64 = 111_195.0;

/// The posterior with the area as a prior.
pub(super) fn restrict_to_area<'a>(posterior: Posterior<'a>, area: &Area) -> Posterior<'a> {
    if area.is_unknown() {
        return posterior;
    }
    let prior = |cell: &Cell| if may_hold(area, cell) { 0.0 } else { LOG_PRIOR_OUTSIDE };
    let prior: Vec<f64> = posterior.table.cells.iter().map(prior).collect();
    posterior.with_prior(&prior, 1.0)
}

/// Whether a cell may hold places of the area.
fn may_hold(area: &Area, cell: &Cell) -> bool {
    let is_in_country = || cell.country.as_ref().is_some_and(|country| area.countries.contains(country));
    let is_within = |[[south, west], [north, east]]: [[f64; 2]; 2]| {
        let reach = cell.spread_m / METRES_PER_DEGREE;
        let reach_lng = reach / libm::cos(cell.at.lat.to_radians()).max(0.01);
        let (after, before) = (cell.at.lng >= west - reach_lng, cell.at.lng <= east + reach_lng);
        let is_between = if west <= east { after && before } else { after || before };
        is_between && (south.min(north) - reach..=north.max(south) + reach).contains(&cell.at.lat)
    };
    (area.countries.is_empty() || is_in_country()) && area.bounds.is_none_or(is_within)
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::{Bundle, MapScale, countries, pin};

    /// The country of the best pin when the logits carry no information.
    fn pin_country(area: &Area) -> Option<&'static str> {
        let bundle = Bundle::find("pocket").unwrap();
        let logits = vec![0.0f32; bundle.cells.cells.len()];
        let posterior = restrict_to_area(Posterior::fuse(&bundle.cells, &[logits], 1.0).unwrap(), area);
        let total: f64 = posterior.probabilities().iter().sum();
        assert!((total - 1.0).abs() < 1e-9, "{total}");
        countries::of(pin::best(&posterior, MapScale::WORLD).at).map(|country| country.iso2)
    }

    #[test]
    fn countries_and_bounds_move_the_pin_inside() {
        let of = |codes: &[&str]| Area { countries: codes.iter().map(|code| (*code).into()).collect(), bounds: None };
        let within = |bounds| Area { bounds: Some(bounds), countries: Vec::new() };
        assert_eq!(pin_country(&of(&["NZ"])), Some("NZ"));
        assert_eq!(pin_country(&within([[36.0, -9.5], [43.5, 3.0]])), Some("ES"));
        // Over the date line: New Zealand to Samoa.
        assert_eq!(pin_country(&within([[-48.0, 166.0], [-10.0, -170.0]])), Some("NZ"));
        assert_ne!(pin_country(&Area::default()), Some("NZ"));
    }
}
