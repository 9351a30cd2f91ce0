//! From a posterior to a predicted location.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::countries::{self, Country};
use crate::latlng::LatLng;
use crate::pin::{self, Pin};
use crate::place;
use crate::posterior::Posterior;
use crate::score::MapScale;

/// A cell and its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopCell {
    /// S2 token of the cell.
    pub cell: String,
    /// Mean location of the training places in the cell.
    #[serde(flatten)]
    pub at: LatLng,
    /// Probability of the cell, 0 to 1.
    pub p: f64,
}

/// Where a photograph was probably taken, and how certain that is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// The predicted location.
    pub point: LatLng,
    /// Expected points of a guess at [`point`](Self::point), 0 to 5000: on the World map, or on the map that the
    /// prediction was made for.
    pub expected_score: f64,
    /// The location in words, such as `near Lyon, France` or `at sea`.
    pub place: String,
    /// ISO 3166-1 alpha-2 code of the country at the location; `None` more than 50 km off any coast.
    pub country: Option<&'static str>,
    /// Radius in kilometres around [`point`](Self::point) of the circle that holds 50 % of the probability.
    pub radius_50_km: f64,
    /// Radius in kilometres around [`point`](Self::point) of the circle that holds 90 % of the probability.
    pub radius_90_km: f64,
    /// The ten most likely cells, most likely first.
    pub candidates: Vec<TopCell>,
}

/// The radii of a [`Prediction`] in whole kilometres, as the binaries and the page print them.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RadiusKm {
    pub p50: f64,
    pub p90: f64,
}

const CANDIDATES: usize = 10;

impl Prediction {
    /// The prediction for a photograph: the middle of the most likely region.
    ///
    /// ```
    /// use landfall_model::{Cell, CellTable, LatLng, Posterior, Prediction};
    ///
    /// let cell = |token: &str, level, lat, lng, country: &str| Cell {
    ///     token: token.into(),
    ///     level,
    ///     at: LatLng { lat, lng },
    ///     spread_m: 20_000.0,
    ///     count: 1,
    ///     country: Some(country.into()),
    /// };
    /// let table = CellTable::new(vec![cell("47f4", 5, 45.9, 4.7, "FR"), cell("6b14", 5, -33.7, 150.8, "AU")])?;
    /// let logits = [[3.0, 0.0]]; // one view, one number per cell
    /// let posterior = Posterior::fuse(&table, &logits, 1.0).expect("finite numbers, one per cell");
    /// let prediction = Prediction::for_photo(&posterior);
    /// assert_eq!(prediction.place, "near Lyon, France");
    /// assert_eq!(prediction.country, Some("FR"));
    /// assert!(prediction.radius_50_km <= prediction.radius_90_km);
    /// assert_eq!(prediction.candidates[0].cell, "47f4");
    /// # Ok::<(), landfall_model::InvalidCells>(())
    /// ```
    pub fn for_photo(posterior: &Posterior<'_>) -> Self {
        Self::at_pin(posterior, pin::mode(posterior))
    }

    /// The prediction for a game on a map of this scale: the point with the highest expected score. `landfall play` also
    /// knows the map's area and rescales points, so it calls `pin::best` itself.
    pub fn for_map(posterior: &Posterior<'_>, scale: MapScale) -> Self {
        Self::at_pin(posterior, pin::best(posterior, scale))
    }

    /// The prediction with this pin.
    #[doc(hidden)]
    pub fn at_pin(posterior: &Posterior<'_>, pin: Pin) -> Self {
        let candidate = |(i, p): (usize, f64)| {
            let cell = &posterior.table.cells[i];
            TopCell { cell: cell.token.clone(), at: cell.at, p }
        };
        let place = place::describe(pin.at);
        Self {
            point: pin.at,
            expected_score: pin.expected_score,
            place: place.description,
            country: place.country,
            radius_50_km: posterior.radius_m(pin.at, 0.5) / 1000.0,
            radius_90_km: posterior.radius_m(pin.at, 0.9) / 1000.0,
            candidates: posterior.top(CANDIDATES).into_iter().map(candidate).collect(),
        }
    }

    #[doc(hidden)]
    pub fn radius_km(&self) -> RadiusKm {
        RadiusKm { p50: self.radius_50_km.round(), p90: self.radius_90_km.round() }
    }
}

/// Radius of half of the probability, in kilometres, above which a town would claim too much.
const DOUBT_KM: f64 = 900.0;
/// Minimum probability of an area that is named instead.
const AREA_P: f64 = 0.5;

/// The area to name for a doubtful prediction instead of a town: the country, else the continent, that has at least half
/// of the probability, such as "in Brazil" or "in Asia"; "on Earth" if there is none. `None` if half of the probability
/// is within 900 km of the pin.
#[doc(hidden)]
pub fn area_if_doubtful(posterior: &Posterior<'_>, prediction: &Prediction) -> Option<String> {
    if prediction.radius_50_km <= DOUBT_KM {
        return None;
    }
    let countries = top_countries(posterior, usize::MAX);
    if let Some((country, _)) = countries.first().filter(|(_, p)| *p >= AREA_P) {
        return Some(format!("in {}", country.name));
    }
    let share =
        |code: &str| -> f64 { countries.iter().filter(|(country, _)| country.continent == code).map(|(_, p)| p).sum() };
    let continent = CONTINENTS.iter().find(|(code, _)| share(code) >= AREA_P);
    Some(continent.map_or_else(|| "on Earth".to_owned(), |(_, name)| format!("in {name}")))
}

/// Continents by the codes of [`Country::continent`].
const CONTINENTS: [(&str, &str); 7] = [
    ("AF", "Africa"),
    ("AN", "Antarctica"),
    ("AS", "Asia"),
    ("EU", "Europe"),
    ("NA", "North America"),
    ("OC", "Oceania"),
    ("SA", "South America"),
];

/// The `k` most likely countries with their probabilities, most likely first. The probability of a country is the sum
/// over its cells.
#[doc(hidden)]
pub fn top_countries(posterior: &Posterior<'_>, k: usize) -> Vec<(&'static Country, f64)> {
    let mut sums: HashMap<&str, f64> = HashMap::new();
    for (cell, p) in posterior.table.cells.iter().zip(posterior.probabilities()) {
        if let Some(iso2) = &cell.country {
            *sums.entry(iso2).or_default() += p;
        }
    }
    let known = |(iso2, p): (&str, f64)| Some((countries::by_code(iso2)?, p));
    let mut shares: Vec<_> = sums.into_iter().filter_map(known).collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.iso2.cmp(b.0.iso2)));
    shares.truncate(k);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posterior::tests::table_of;

    #[test]
    fn the_probability_of_a_country_is_the_sum_over_its_cells() {
        let mut table = table_of(&[(48.0, 2.0), (52.0, 13.0), (45.0, 4.0), (0.0, -30.0)]);
        for (cell, iso2) in table.cells.iter_mut().zip(["FR", "DE", "FR"]) {
            cell.country = Some(iso2.into());
        }
        let logits = [0.3f32.ln(), 0.4f32.ln(), 0.2f32.ln(), 0.1f32.ln()];
        let posterior = Posterior::fuse(&table, &[logits], 1.0).unwrap();
        let shares = top_countries(&posterior, 5);
        assert_eq!(shares.iter().map(|(country, _)| country.iso2).collect::<Vec<_>>(), ["FR", "DE"]);
        assert!((shares[0].1 - 0.5).abs() < 1e-6);
        assert_eq!(Prediction::for_photo(&posterior).country, Some("DE"));
    }

    #[test]
    fn a_doubtful_prediction_names_an_area() {
        let area = |places: &[(f64, f64)], countries: &[&str]| {
            let mut table = table_of(places);
            for (cell, iso2) in table.cells.iter_mut().zip(countries) {
                cell.country = Some((*iso2).into());
            }
            // Equally likely, but for the order.
            let logits: Vec<f32> = (0..places.len()).map(|i| -0.001 * i as f32).collect();
            let posterior = Posterior::fuse(&table, &[logits], 1.0).unwrap();
            area_if_doubtful(&posterior, &Prediction::for_photo(&posterior))
        };
        let (lyon, paris, vladivostok, moscow) = ((45.8, 4.8), (48.9, 2.3), (43.1, 131.9), (55.8, 37.6));
        assert_eq!(area(&[lyon, paris], &["FR", "FR"]), None, "400 km apart");
        assert_eq!(area(&[moscow, vladivostok, lyon], &["RU", "RU", "FR"]).as_deref(), Some("in Russia"));
        let (tokyo, delhi) = ((35.7, 139.7), (28.6, 77.2));
        assert_eq!(area(&[tokyo, delhi, lyon], &["JP", "IN", "FR"]).as_deref(), Some("in Asia"));
        let sydney = (-33.9, 151.2);
        assert_eq!(area(&[tokyo, sydney, lyon], &["JP", "AU", "FR"]).as_deref(), Some("on Earth"));
    }

    #[test]
    fn every_continent_has_a_name() {
        for country in countries::all() {
            assert!(CONTINENTS.iter().any(|(code, _)| *code == country.continent), "{country:?}");
        }
    }

    #[test]
    fn a_prediction_for_a_map_maximises_the_score_there() {
        let table = table_of(&[(44.0, 1.0), (50.5, 7.0), (50.8, 9.5), (52.0, 8.0)]);
        let logits = [0.37f32.ln(), 0.21f32.ln(), 0.21f32.ln(), 0.21f32.ln()];
        let posterior = Posterior::fuse(&table, &[logits], 1.0).unwrap();
        let (photo, map) = (Prediction::for_photo(&posterior), Prediction::for_map(&posterior, MapScale::WORLD));
        assert!(map.expected_score >= photo.expected_score);
        assert_eq!(map.point, pin::best(&posterior, MapScale::WORLD).at);
        assert_eq!(photo.point, pin::mode(&posterior).at);
    }
}
