//! Locations in words: "near Lyon, France".

use std::sync::OnceLock;

use crate::countries;
use crate::latlng::LatLng;

/// A location in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// ISO 3166-1 alpha-2 code of the country, if the location is on land or within 50 km of it.
    pub country: Option<&'static str>,
    /// Such as "near Lyon, France", "in Mongolia", "at sea".
    pub description: String,
}

/// Largest distance in metres at which a location is said to be near a city.
const NEAR_M: f64 = 300_000.0;

/// The country at a location and the city that a person would name it by: a near one, or a large one further away.
pub fn describe(at: LatLng) -> Place {
    let Some(country) = countries::of(at) else {
        return Place { country: None, description: "at sea".to_owned() };
    };
    let v = at.to_unit_vector();
    // A city ten times as large is named from about twice the distance.
    let remoteness = |city: &City| (crate::cells::arc_m(city.vector, v) + 5_000.0) / libm::pow(city.population, 0.3);
    let city = cities()
        .iter()
        .filter(|city| city.iso2 == country.iso2 && crate::cells::arc_m(city.vector, v) < NEAR_M)
        .min_by(|a, b| remoteness(a).total_cmp(&remoteness(b)));
    let description = match city {
        Some(city) => format!("near {}, {}", city.name, country.name),
        None => format!("in {}", country.name),
    };
    Place { country: Some(country.iso2), description }
}

struct City {
    name: &'static str,
    iso2: &'static str,
    vector: [f64; 3],
    population: f64,
}

fn cities() -> &'static [City] {
    static CITIES: OnceLock<Vec<City>> = OnceLock::new();
    CITIES.get_or_init(|| {
        // No field in the file contains a comma: cities whose names would need quoting were left out.
        include_str!("../data/cities.csv").lines().skip(1).filter_map(parse).collect()
    })
}

fn parse(line: &'static str) -> Option<City> {
    let mut fields = line.split(',');
    let (name, iso2) = (fields.next()?, fields.next()?);
    let at = LatLng::new(fields.next()?.parse().ok()?, fields.next()?.parse().ok()?).ok()?;
    Some(City { name, iso2, vector: at.to_unit_vector(), population: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe_at(lat: f64, lng: f64) -> (Option<&'static str>, String) {
        let place = describe(LatLng::new(lat, lng).unwrap());
        (place.country, place.description)
    }

    #[test]
    fn locations_are_named_as_a_person_would() {
        assert_eq!(describe_at(45.9, 4.7), (Some("FR"), "near Lyon, France".to_owned()));
        assert_eq!(describe_at(-33.7, 150.8).1, "near Sydney, Australia");
        assert_eq!(describe_at(0.0, 0.0), (None, "at sea".to_owned()));
        assert_eq!(describe_at(72.0, -40.0).1, "in Greenland");
    }

    #[test]
    fn every_city_is_parsed() {
        assert_eq!(cities().len(), include_str!("../data/cities.csv").lines().count() - 1);
    }
}
