//! Where the sun stood.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use chrono::{DateTime, Utc};
use landfall_model::LatLng;
use serde::Serialize;
use solar_positioning::{Location, SolarPositions, delta_t};

/// Position of the sun over a place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct SunPosition {
    /// Angle in degrees of its centre above the horizon, without refraction.
    pub elevation_deg: f64,
    /// Direction in degrees clockwise from north.
    pub azimuth_deg: f64,
    /// What the elevation means.
    pub light: Light,
}

/// Daylight by the elevation of the sun, in the usual steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Light {
    /// A part of the sun is above the horizon.
    Day,
    /// Civil twilight, to 6 degrees below the horizon.
    CivilTwilight,
    /// Nautical and astronomical twilight, to 18 degrees.
    Twilight,
    /// The rest.
    Night,
}

impl Light {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::CivilTwilight => "civil twilight",
            Self::Twilight => "twilight",
            Self::Night => "night",
        }
    }
}

const DIRECTIONS: [&str; 8] =
    ["north", "north-east", "east", "south-east", "south", "south-west", "west", "north-west"];
/// Elevation at sunrise and sunset: the radius of the sun's disc and the refraction at the horizon.
const HORIZON_DEG: f64 = -0.833;

/// The position of the sun at sea level, by the algorithm of Reda and Andreas ("Solar position algorithm for solar radiation
/// applications", Solar Energy 76, 2004). `None` outside the years -2000 to 6000.
pub(crate) fn sun_position(at: LatLng, time: DateTime<Utc>) -> Option<SunPosition> {
    let delta_t = delta_t::estimate_from_date_like(&time).ok()?;
    let location = Location { latitude: at.lat, longitude: at.lng };
    let position = SolarPositions::new().at(&time, location, 0.0, delta_t, None).ok()?;
    let elevation_deg = position.elevation_angle();
    let light = match elevation_deg {
        HORIZON_DEG.. => Light::Day,
        -6.0.. => Light::CivilTwilight,
        -18.0.. => Light::Twilight,
        _ => Light::Night,
    };
    Some(SunPosition { elevation_deg, azimuth_deg: position.azimuth(), light })
}

impl std::fmt::Display for SunPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { elevation_deg, azimuth_deg, light } = self;
        let side = if *elevation_deg < 0.0 { "below" } else { "above" };
        let direction = DIRECTIONS[((azimuth_deg / 45.0).round() as usize) % DIRECTIONS.len()];
        let elevation = elevation_deg.abs();
        write!(f, "sun {elevation:.1}° {side} the horizon in the {direction} ({azimuth_deg:.0}°), {}", light.name())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse_time;
    use super::*;

    #[test]
    fn positions_agree_with_published_values() {
        // Table A5.1 of Reda and Andreas (NREL/TP-560-34302): zenith angle 50.11162°, which includes refraction of 0.01°
        // and is at 1,830 m, and azimuth 194.34024°.
        let golden = LatLng::new(39.742476, -105.1786).unwrap();
        let sun = sun_position(golden, parse_time("2003-10-17T19:30:30Z").unwrap()).unwrap();
        assert!((sun.elevation_deg - (90.0 - 50.11162)).abs() < 0.02, "{sun:?}");
        assert!((sun.azimuth_deg - 194.34024).abs() < 0.001, "{sun:?}");
    }

    #[test]
    fn light_follows_the_sun() {
        let at = |lat, lng, time: &str| {
            let place = LatLng::new(lat, lng).unwrap();
            sun_position(place, parse_time(time).unwrap()).unwrap()
        };
        // The sun is overhead at the equator at noon of the equinox, and north of the zenith in Sydney.
        assert!(at(0.0, 0.0, "2024-03-20T12:07Z").elevation_deg > 89.0);
        let sydney = at(-33.87, 151.21, "2024-12-21T02:00Z");
        assert!(sydney.light == Light::Day && !(90.0..270.0).contains(&sydney.azimuth_deg), "{sydney:?}");
        assert!(sydney.to_string().ends_with(", day") && sydney.to_string().contains(" in the north"), "{sydney}");
        // Longyearbyen in the polar night and under the midnight sun.
        assert_eq!(at(78.22, 15.65, "2024-12-21T00:00Z").light, Light::Night);
        assert_eq!(at(78.22, 15.65, "2024-06-21T00:00Z").light, Light::Day);
        let (civil, deeper) = (at(51.48, 0.0, "2024-03-20T18:30Z"), at(51.48, 0.0, "2024-03-20T19:15Z"));
        assert_eq!((civil.light, deeper.light), (Light::CivilTwilight, Light::Twilight));
    }
}
