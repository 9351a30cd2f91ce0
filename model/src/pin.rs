//! Where to put the pin: the point with the highest expected score, which is in general not the mean of the posterior.

use crate::cells::{CellTable, arc_m};
use crate::countries;
use crate::latlng::{EARTH_RADIUS_M, LatLng};
use crate::posterior::Posterior;
use crate::score::{MapScale, ScoreFunction};

/// A point on the map and its expected score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pin {
    pub at: LatLng,
    /// Expected points on the map that the pin was chosen for.
    pub expected_score: f64,
}

/// Number of cells, the most likely ones, whose locations are tried before the best is refined.
const CANDIDATES: usize = 48;
/// A pin this near to land, in metres, counts as on land: coasts of a 1:50m map are off by kilometres.
const COAST_M: f64 = 10_000.0;
/// Scale in metres of the score that [`mode`] maximises: its kernel has a length of 200 km, the width of a peak of the
/// posterior rather than of a map.
const MODE_SCALE_M: f64 = 2_000_000.0;

/// The pin with the highest expected score on a map of this scale, or by another score formula.
///
/// The mean locations of the most likely cells are tried first; from the best of them a hill climb with ever smaller
/// steps starts. A cell with spread `s` at distance `d` counts at `√(d² + s²)`; the search uses chords for `d`, and only
/// the returned expected score uses arcs. The pin is on land or within 10 km of it,
/// unless there is none around the best cell, as around an island that is too small for the map.
pub fn best(posterior: &Posterior<'_>, score_by: impl ScoreFunction) -> Pin {
    let field = ScoreField::new(posterior, &score_by);
    let cells = &posterior.table.cells;
    let by_score = |a: &(f64, LatLng), b: &(f64, LatLng)| a.0.total_cmp(&b.0);
    let candidates = posterior.top(CANDIDATES).into_iter().map(|(i, _)| (field.at(posterior.table.vectors()[i]), i));
    let candidates: Vec<(f64, usize)> = candidates.collect();
    // A posterior has at least one cell, so there always is a best one.
    let (score, best) = candidates.iter().copied().max_by(|a, b| a.0.total_cmp(&b.0)).unwrap_or_default();
    let start = (score, cells[best].at);
    let (_, mut at) = field.climb(start, |_| true);
    if !on_land(at) {
        let land = if on_land(start.1) {
            Some(start)
        } else {
            // The land around it may be worse than another cell, but only on land.
            let around = field.best_land(start.1, 2.0 * cells[best].spread_m);
            let others = candidates.iter().map(|(score, i)| (*score, cells[*i].at)).filter(|(_, at)| on_land(*at));
            around.into_iter().chain(others.filter(|_| around.is_some())).max_by(by_score)
        };
        at = land.map_or(start, |land| field.climb(land, on_land)).1;
    }
    Pin { at, expected_score: expected_score(posterior, at, score_by) }
}

/// The middle of the most likely peak, for a photograph that belongs to no map. Its `expected_score` is for the World
/// map.
pub fn mode(posterior: &Posterior<'_>) -> Pin {
    let scale = MapScale::try_from(MODE_SCALE_M).unwrap_or(MapScale::WORLD);
    let at = best(posterior, scale).at;
    Pin { at, expected_score: expected_score(posterior, at, MapScale::WORLD) }
}

/// Expected points of a pin at `at`: the mean over cells, weighted by probability, of the points for the distance to the
/// cell, which for a cell with spread `s` at distance `d` is `√(d² + s²)`.
pub fn expected_score(posterior: &Posterior<'_>, at: LatLng, score_by: impl ScoreFunction) -> f64 {
    let v = at.to_unit_vector();
    let CellTable { cells, .. } = posterior.table;
    let cells = cells.iter().zip(posterior.table.vectors()).zip(posterior.log_probabilities());
    cells
        .map(|((cell, u), log_p)| {
            let d = arc_m(*u, v);
            libm::exp(*log_p) * score_by.exact_points((d * d + cell.spread_m * cell.spread_m).sqrt())
        })
        .sum()
}

fn on_land(at: LatLng) -> bool {
    countries::at_or_near(at, COAST_M).is_some()
}

/// The expected score as a function of location, fast: points are looked up by chord length in a table.
struct ScoreField {
    /// One entry per cell in each: unit vector, squared spread on the unit sphere, probability.
    x: Vec<f64>,
    y: Vec<f64>,
    z: Vec<f64>,
    spread_squared: Vec<f64>,
    p: Vec<f64>,
    /// Points at evenly spaced chord lengths; 0 beyond the last.
    points: [f64; Self::STEPS + 2],
    steps_per_chord: f64,
    first_step_m: f64,
}

impl ScoreField {
    /// Steps of the table. The error of the linear interpolation between them is less than 0.1 points.
    const STEPS: usize = 1024;
    /// Number of cells per inner loop, which the compiler can vectorise.
    const BLOCK: usize = 64;

    fn new(posterior: &Posterior<'_>, score_by: impl ScoreFunction) -> Self {
        let reach_m = score_by.reach_m();
        let reach_chord = 2.0 * libm::sin(reach_m / EARTH_RADIUS_M / 2.0);
        let arc_of = |chord: f64| 2.0 * EARTH_RADIUS_M * libm::asin((chord / 2.0).min(1.0));
        let mut points = [0.0; Self::STEPS + 2];
        for (step, points) in points[..=Self::STEPS].iter_mut().enumerate() {
            *points = score_by.exact_points(arc_of(reach_chord * step as f64 / Self::STEPS as f64));
        }
        let mut field = Self {
            x: Vec::new(),
            y: Vec::new(),
            z: Vec::new(),
            spread_squared: Vec::new(),
            p: posterior.probabilities(),
            points,
            steps_per_chord: Self::STEPS as f64 / reach_chord,
            first_step_m: score_by.search_step_m(),
        };
        for (cell, [x, y, z]) in posterior.table.cells.iter().zip(posterior.table.vectors()) {
            let spread = cell.spread_m / EARTH_RADIUS_M;
            field.x.push(*x);
            field.y.push(*y);
            field.z.push(*z);
            field.spread_squared.push(spread * spread);
        }
        field
    }

    fn at(&self, v: [f64; 3]) -> f64 {
        let mut sum = 0.0;
        let mut positions = [0.0; Self::BLOCK];
        for start in (0..self.p.len()).step_by(Self::BLOCK) {
            let block = start..(start + Self::BLOCK).min(self.p.len());
            let (x, y, z) = (&self.x[block.clone()], &self.y[block.clone()], &self.z[block.clone()]);
            let (spread_squared, p) = (&self.spread_squared[block.clone()], &self.p[block]);
            let positions = &mut positions[..p.len()];
            for i in 0..positions.len() {
                let (dx, dy, dz) = (x[i] - v[0], y[i] - v[1], z[i] - v[2]);
                let chord = (dx * dx + dy * dy + dz * dz + spread_squared[i]).sqrt();
                positions[i] = (chord * self.steps_per_chord).min(Self::STEPS as f64);
            }
            for (position, p) in positions.iter().zip(p) {
                let step = *position as usize; // towards zero
                let (near, far) = (self.points[step], self.points[step + 1]);
                sum += p * (near + (far - near) * (position - step as f64));
            }
        }
        sum
    }

    /// The best location on land around one at sea, within `reach_m` metres or 50 km, whichever is more.
    fn best_land(&self, sea: LatLng, reach_m: f64) -> Option<(f64, LatLng)> {
        let rings = (1..=10).map(|ring| reach_m.max(50_000.0) * f64::from(ring) / 10.0);
        let around = rings.flat_map(|radius_m| (0..16).map(move |i| sea.destination(f64::from(i) * 22.5, radius_m)));
        let land = around.filter(|location| countries::at(*location).is_some());
        land.map(|location| (self.at(location.to_unit_vector()), location)).max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Moves uphill from a scored location, in six directions and ever smaller steps, over locations that are `allowed`.
    fn climb(&self, (mut score, mut at): (f64, LatLng), allowed: impl Fn(LatLng) -> bool) -> (f64, LatLng) {
        let mut step_m = self.first_step_m;
        while step_m > self.first_step_m / 300.0 {
            let around = (0..6).map(|i| at.destination(f64::from(i) * 60.0, step_m));
            let higher = around
                .map(|location| (self.at(location.to_unit_vector()), location))
                .filter(|(s, location)| *s > score && allowed(*location))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            match higher {
                Some(better) => (score, at) = better,
                None => step_m /= 3.0,
            }
        }
        (score, at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::posterior::tests::table_of;
    use crate::score::ScoreTable;
    use proptest::prelude::*;

    fn posterior_of<'a>(table: &'a CellTable, p: &[f64]) -> Posterior<'a> {
        let logits: Vec<f32> = p.iter().map(|p| p.ln() as f32).collect();
        Posterior::fuse(table, &[logits], 1.0).unwrap()
    }

    #[test]
    fn the_pin_is_at_the_likelier_of_distant_cells_and_between_near_ones() {
        let table = table_of(&[(48.0, 2.0), (-33.0, 147.0)]);
        let pin = best(&posterior_of(&table, &[0.6, 0.4]), MapScale::WORLD);
        assert!(pin.at.distance_m(table.cells[0].at) < 100_000.0);

        let table = table_of(&[(48.0, 2.0), (48.0, 6.0), (51.0, 4.0)]);
        let near = posterior_of(&table, &[0.34, 0.33, 0.33]);
        let pin = best(&near, MapScale::WORLD);
        assert!(table.cells.iter().all(|cell| pin.at.distance_m(cell.at) > 30_000.0), "{}", pin.at);
    }

    #[test]
    fn the_scale_of_the_map_moves_the_pin() {
        // One likely cell against three weaker neighbours: hedging pays on a large map, not on a small one.
        let table = table_of(&[(44.0, 1.0), (50.5, 7.0), (50.8, 9.5), (52.0, 8.0)]);
        let posterior = posterior_of(&table, &[0.37, 0.21, 0.21, 0.21]);
        let small = best(&posterior, MapScale::try_from(1_000_000.0).unwrap());
        let large = best(&posterior, MapScale::WORLD);
        assert!(small.at.distance_m(table.cells[0].at) < 50_000.0);
        assert!(large.at.distance_m(table.cells[0].at) > 400_000.0);
    }

    #[test]
    fn a_table_of_points_chooses_the_pin_of_its_formula() {
        let table = table_of(&[(44.0, 1.0), (50.5, 7.0), (50.8, 9.5), (52.0, 8.0)]);
        let posterior = posterior_of(&table, &[0.37, 0.21, 0.21, 0.21]);
        let by_scale = best(&posterior, MapScale::WORLD);
        let points = ScoreTable::new(|distance_m| MapScale::WORLD.exact_points(distance_m));
        let by_table = best(&posterior, &points);
        assert!(by_table.at.distance_m(by_scale.at) < 20_000.0, "{} {}", by_table.at, by_scale.at);
        assert!((by_table.expected_score - by_scale.expected_score).abs() < 0.5);
        // All or nothing within 400 km: the likeliest cell alone.
        let near = best(&posterior, ScoreTable::new(|distance_m| if distance_m < 400_000.0 { 100.0 } else { 0.0 }));
        assert!(near.expected_score > 36.0 && near.expected_score <= 64.0, "{near:?}");
    }

    #[test]
    fn the_pin_stays_on_land() {
        // Iceland, Ireland and the Azores: the point between them is at sea.
        let table = table_of(&[(64.8, -18.5), (53.0, -8.0), (38.5, -28.0)]);
        let pin = best(&posterior_of(&table, &[0.34, 0.33, 0.33]), MapScale::try_from(4e7).unwrap());
        assert!(on_land(pin.at), "{}", pin.at);
        // Around the Gulf of Guinea, whose centre is (0, 0).
        let table = table_of(&[(6.5, 1.0), (0.5, 10.0), (5.5, -2.0), (-8.9, 13.3)]);
        let pin = best(&posterior_of(&table, &[0.25; 4]), MapScale::try_from(6e7).unwrap());
        assert!(on_land(pin.at) && pin.at.distance_m(LatLng { lat: 0.0, lng: 0.0 }) > 300_000.0, "{}", pin.at);
    }

    #[test]
    fn a_cell_with_its_mean_at_sea_has_its_pin_on_land() {
        // Places around the Tyrrhenian Sea, with their mean in the middle of it.
        let mut table = table_of(&[(40.0, 12.0)]);
        table.cells[0].spread_m = 250_000.0;
        assert!(!on_land(table.cells[0].at));
        let pin = best(&posterior_of(&table, &[1.0]), MapScale::WORLD);
        assert!(on_land(pin.at) && pin.at.distance_m(table.cells[0].at) < 300_000.0, "{}", pin.at);
    }

    #[test]
    fn a_single_cell_gets_the_pin() {
        let table = table_of(&[(-16.5, -151.7)]); // Bora Bora, too small for the map
        let pin = best(&posterior_of(&table, &[1.0]), MapScale::WORLD);
        assert!(pin.at.distance_m(table.cells[0].at) < 1.0);
        assert!(pin.expected_score > 4800.0 && pin.expected_score < 5000.0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_cell_on_land_beats_the_pin(
            logits in prop::collection::vec(-4.0f32..4.0, 8),
            scale_m in 500_000.0..2.0e7f64,
        ) {
            let table = table_of(&[(48.0, 2.0), (50.0, 7.0), (52.0, 13.0), (40.0, -4.0), (45.0, 9.0), (60.0, 25.0),
                (38.0, 23.0), (55.0, 37.0)]);
            let posterior = Posterior::fuse(&table, &[logits], 1.0).unwrap();
            let scale = MapScale::try_from(scale_m).unwrap();
            let pin = best(&posterior, scale);
            for cell in table.cells.iter().filter(|cell| on_land(cell.at)) {
                let there = expected_score(&posterior, cell.at, scale);
                prop_assert!(there <= pin.expected_score + 0.5, "{} > {}", there, pin.expected_score);
            }
        }
    }
}
