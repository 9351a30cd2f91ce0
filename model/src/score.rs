//! GeoGuessr's score formula: `round(5000 · exp(−10 · distance / scale))`, where the scale is the size of the map in
//! metres; and other formulas as a table of points by distance.

use serde::{Deserialize, Serialize};

use crate::latlng::{EARTH_RADIUS_M, LatLng};

/// Points for a perfect guess.
pub const MAX_POINTS: f64 = 5000.0;

/// Scale of the World map in metres. Papers state a tenth of it, rounded to 1492.7 km (PIGEON, arXiv:2307.05845).
pub const WORLD_SCALE_M: f64 = 14_916_862.0;

/// Scale in metres of a map that states neither a maximum error distance nor bounds: half the circumference of the
/// earth.
pub const FALLBACK_SCALE_M: f64 = 20_015_086.0;

/// The corners of a map as the game states them. Some maps have them swapped; only the distance between them matters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// South-west corner.
    pub min: LatLng,
    /// North-east corner.
    pub max: LatLng,
}

/// How fast points fall with distance on a map: a positive number of metres.
///
/// ```
/// use landfall_model::MapScale;
///
/// let points = MapScale::WORLD.points(250_000.0); // a guess 250 km off
/// assert_eq!(points, 4228);
/// let small = MapScale::try_from(1_000_000.0)?;
/// assert_eq!(small.points(250_000.0), 410);
/// assert!(MapScale::try_from(0.0).is_err());
/// # Ok::<(), landfall_model::InvalidScale>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct MapScale(f64);

/// A scale that is not a positive number of metres.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq)]
#[error("a map's scale must be a positive number of metres, not {0}")]
pub struct InvalidScale(f64);

impl TryFrom<f64> for MapScale {
    type Error = InvalidScale;
    fn try_from(metres: f64) -> Result<Self, InvalidScale> {
        if metres.is_finite() && metres > 0.0 { Ok(Self(metres)) } else { Err(InvalidScale(metres)) }
    }
}

impl From<MapScale> for f64 {
    fn from(scale: MapScale) -> Self {
        scale.0
    }
}

impl MapScale {
    /// The World map.
    pub const WORLD: Self = Self(WORLD_SCALE_M);

    /// The scale of a map, computed as the game's server does.
    ///
    /// It is the map's maximum error distance in metres if it is positive; if none is stated, the distance between
    /// the corners of the map, rounded down to metres; and half the circumference of the earth if that leaves nothing:
    /// a maximum error distance of 0, no bounds, or bounds without extent.
    ///
    /// ```
    /// use landfall_model::MapScale;
    ///
    /// assert_eq!(MapScale::of_map(Some(18_499_075.0), None).metres(), 18_499_075.0);
    /// assert_eq!(MapScale::of_map(None, None).metres(), 20_015_086.0);
    /// ```
    pub fn of_map(max_error_distance_m: Option<f64>, bounds: Option<Bounds>) -> Self {
        let metres = match (max_error_distance_m, bounds) {
            (Some(max), _) if max > 0.0 && max.is_finite() => max,
            (None, Some(bounds)) => bounds.min.distance_m(bounds.max).floor(),
            _ => FALLBACK_SCALE_M,
        };
        Self(if metres > 0.0 { metres } else { FALLBACK_SCALE_M })
    }

    /// The scale in metres.
    pub fn metres(self) -> f64 {
        self.0
    }

    /// Points for a guess that is `distance_m` metres off, before rounding.
    pub fn exact_points(self, distance_m: f64) -> f64 {
        MAX_POINTS * libm::exp(-10.0 * distance_m / self.0)
    }

    /// Points for a guess that is `distance_m` metres off, rounded as the game does.
    pub fn points(self, distance_m: f64) -> u32 {
        // 0 ..= 5000 by construction, so the cast is exact.
        self.exact_points(distance_m).round() as u32
    }

    /// The distance in metres at which a guess scores `points` before rounding: the inverse of
    /// [`exact_points`](Self::exact_points).
    ///
    /// ```
    /// use landfall_model::MapScale;
    ///
    /// let distance_m = MapScale::WORLD.distance_for_m(3000.0);
    /// assert!((MapScale::WORLD.exact_points(distance_m) - 3000.0).abs() < 1e-9);
    /// ```
    pub fn distance_for_m(self, points: f64) -> f64 {
        self.0 / 10.0 * libm::log(MAX_POINTS / points)
    }
}

/// How points fall with distance. What [`crate::pin`] needs to know of a score formula.
#[doc(hidden)]
pub trait ScoreFunction {
    /// Points for a guess that is `distance_m` metres off, before rounding.
    fn exact_points(&self, distance_m: f64) -> f64;

    /// The distance in metres beyond which a guess scores less than 0.01 points, if there is one.
    fn reach_m(&self) -> f64;

    /// The first step in metres of the search for the best pin: a fifth of the distance at which points have fallen to 1/e.
    fn search_step_m(&self) -> f64;
}

/// The largest distance on earth in metres.
const LARGEST_DISTANCE_M: f64 = std::f64::consts::PI * EARTH_RADIUS_M;
/// Points that do not matter.
const NEGLIGIBLE: f64 = 1e-2;

impl ScoreFunction for MapScale {
    fn exact_points(&self, distance_m: f64) -> f64 {
        Self::exact_points(*self, distance_m)
    }

    fn reach_m(&self) -> f64 {
        self.distance_for_m(NEGLIGIBLE).min(LARGEST_DISTANCE_M)
    }

    fn search_step_m(&self) -> f64 {
        self.0 / 50.0
    }
}

impl<S: ScoreFunction> ScoreFunction for &S {
    fn exact_points(&self, distance_m: f64) -> f64 {
        (**self).exact_points(distance_m)
    }

    fn reach_m(&self) -> f64 {
        (**self).reach_m()
    }

    fn search_step_m(&self) -> f64 {
        (**self).search_step_m()
    }
}

/// Points by distance for any score formula, computed once: an interpreted formula would slow down the search for the best
/// pin, which evaluates it for thousands of cells.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub struct ScoreTable {
    /// Points at the distances `LARGEST_DISTANCE_M · (i / STEPS)²`, which are denser where points change faster.
    points: Vec<f64>,
    reach_m: f64,
    falloff_m: f64,
}

impl ScoreTable {
    const STEPS: usize = 8192;

    /// Tabulates a formula, given as points by distance in metres.
    pub fn new(points: impl Fn(f64) -> f64) -> Self {
        let points: Vec<f64> = (0..=Self::STEPS).map(|step| points(Self::distance_m(step))).collect();
        let (most, least) = points.iter().fold((0.0_f64, f64::INFINITY), |(a, b), p| (a.max(*p), b.min(*p)));
        let last = points.iter().rposition(|points| *points > NEGLIGIBLE).unwrap_or(0);
        let fallen = least + (most - least) / std::f64::consts::E;
        let falloff = points.iter().position(|points| *points <= fallen).unwrap_or(Self::STEPS).max(1);
        Self { points, reach_m: Self::distance_m((last + 1).min(Self::STEPS)), falloff_m: Self::distance_m(falloff) }
    }

    fn distance_m(step: usize) -> f64 {
        let part = step as f64 / Self::STEPS as f64;
        LARGEST_DISTANCE_M * part * part
    }
}

impl ScoreFunction for ScoreTable {
    fn exact_points(&self, distance_m: f64) -> f64 {
        let position = Self::STEPS as f64 * (distance_m.max(0.0) / LARGEST_DISTANCE_M).sqrt().min(1.0);
        let step = (position as usize).min(Self::STEPS - 1);
        let (near, far) = (self.points[step], self.points[step + 1]);
        near + (far - near) * (position - step as f64)
    }

    fn reach_m(&self) -> f64 {
        self.reach_m
    }

    fn search_step_m(&self) -> f64 {
        self.falloff_m / 5.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Scored = (f64, (f64, f64), (f64, f64), f64, u32);

    /// (scale in m, truth, guess, distance in m, points): rounds of the live game with the score that its server gave.
    #[rustfmt::skip]
    const SCORED: &[Scored] = &[
        (14916862.0, (61.34134292602539, 17.009126663208008), (62.3582942558564, 24.218661490840926), 394514.6760254228, 3838),
        (14916862.0, (7.42719030380249, 4.006810665130615), (6.547905580434091, -1.6173923219513275), 628380.7688099504, 3281),
        (14916862.0, (49.10322189331055, 105.54902648925781), (46.999378807877925, 107.41439600424212), 271918.7980448512, 4167),
        (14916862.0, (53.743385314941406, -1.882110357284546), (53.64556121826172, -1.7876739501953125), 12529.0725076288, 4958),
        (14916862.0, (36.752925872802734, 10.175555229187012), (36.10273273061744, 9.614501211547099), 88014.9282160789, 4714),
        (14916862.0, (45.937984466552734, 15.485105514526367), (48.9068489074707, 19.34466552734375), 439534.6094331666, 3724),
        (14916862.0, (50.05168914794922, 23.962556838989258), (43.477867126464844, 23.534225463867188), 731699.8522677997, 3062),
        (14916862.0, (43.72974395751953, 7.420203685760498), (43.70163345336914, 15.466812133789062), 646453.2861740559, 3242),
        (18534781.0, (7.147619224426784, 80.36642344242426), (7.292664399419124, 80.63554567596816), 33785.8399889104, 4910),
        (18534781.0, (52.59697117101643, -8.225429107033793), (53.100348578495044, -7.116415694866505), 93161.0329744556, 4755),
        (18534781.0, (52.59697117101643, -8.225429107033793), (53.638734834230775, -7.297946511896742), 131335.7715189865, 4658),
        (18534781.0, (7.147619224426784, 80.36642344242426), (7.162988441917472, 80.23057756833258), 15084.8525123719, 4959),
        (18534781.0, (47.13261695063441, 9.521705580228776), (47.134320914497685, 9.56003581084289), 2905.6786738691, 4992),
        (18534781.0, (56.19501893960176, 9.999377949032874), (47.53693749182428, 18.726388286028065), 1132026.9328887062, 2715),
    ];

    #[test]
    fn scored_rounds_of_the_live_game_reproduce() {
        for (scale_m, truth, guess, distance_m, score) in SCORED {
            let d = LatLng::new(truth.0, truth.1).unwrap().distance_m(LatLng::new(guess.0, guess.1).unwrap());
            assert!((d - distance_m).abs() < 1e-6, "{d} m, the server says {distance_m} m");
            assert_eq!(MapScale::try_from(*scale_m).unwrap().points(d), *score, "at {d} m");
        }
    }

    #[test]
    fn scale_follows_the_rule_of_the_server() {
        let corner = |lat, lng| LatLng::new(lat, lng).unwrap();
        let world = Bounds { min: corner(-54.853378, -159.778792), max: corner(78.655743, 178.4508514404297) };
        let flipped = Bounds { min: world.max, max: world.min };
        let empty = Bounds { min: world.max, max: world.max };
        assert_eq!(MapScale::of_map(None, Some(world)).metres(), WORLD_SCALE_M);
        assert_eq!(MapScale::of_map(None, Some(flipped)).metres(), WORLD_SCALE_M);
        assert_eq!(MapScale::of_map(Some(18_499_075.0), Some(world)).metres(), 18_499_075.0);
        for (max, bounds) in [(Some(0.0), Some(world)), (None, None), (None, Some(empty))] {
            assert_eq!(MapScale::of_map(max, bounds).metres(), FALLBACK_SCALE_M);
        }
        assert!(MapScale::try_from(0.0).is_err());
    }

    #[test]
    fn highest_and_lowest_score_and_inverse() {
        assert_eq!(MapScale::WORLD.points(149.0), 5000);
        assert_eq!(MapScale::WORLD.points(150.0), 4999);
        assert_eq!(MapScale::WORLD.points(20_015_000.0), 0);
        assert!((MapScale::WORLD.exact_points(MapScale::WORLD.distance_for_m(3000.0)) - 3000.0).abs() < 1e-9);
    }

    #[test]
    fn a_table_agrees_with_its_formula() {
        let table = ScoreTable::new(|distance_m| MapScale::WORLD.exact_points(distance_m));
        for distance_m in [0.0, 12.5, 25_000.0, 1_234_567.0, 9_876_543.0, 20_015_000.0] {
            let difference = table.exact_points(distance_m) - MapScale::WORLD.exact_points(distance_m);
            assert!(difference.abs() < 0.05, "{distance_m} m: {difference}");
        }
        let steps = table.search_step_m() / MapScale::WORLD.search_step_m();
        assert!((steps - 1.0).abs() < 0.01, "{steps}");
        assert!((table.reach_m() / MapScale::WORLD.reach_m() - 1.0).abs() < 0.01, "{}", table.reach_m());
        // Not numbers, and beyond the earth.
        assert!(table.exact_points(f64::INFINITY) < 1.0 && table.exact_points(f64::NAN).is_finite());
        let flat = ScoreTable::new(|_| 3.0);
        assert_eq!((flat.exact_points(1e6), flat.reach_m()), (3.0, LARGEST_DISTANCE_M));
    }
}
