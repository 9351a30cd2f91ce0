//! The cells of a bundle as far as hints allow them, and posteriors narrowed to them.

use anyhow::Result;
use landfall_common::exit::usage_error;
use landfall_model::cells::{Cell, CellTable, arc_m};
use landfall_model::pin::{self, Pin};
use landfall_model::{LatLng, MapScale, Posterior};
use s2::cellid::CellID;

use crate::inference::CellProbability;
use crate::photos::hints::area::Relation;
use crate::photos::hints::{Hint, Hints};

/// Levels between a cell and its samples: 64 per cell.
const SAMPLE_LEVELS: u64 = 3;
/// Coarsest level of samples, about 36 km apart, so that areas of that size are not missed in large cells.
const MIN_SAMPLE_LEVEL: u64 = 8;
/// Weight of the cell's shape against its training places in the assumed spread of places, in number of places.
const SHAPE_PLACES: f64 = 2.0;
/// Share of the places of a cell that are assumed to lie anywhere in it, whatever the spread of the training places.
const ANYWHERE: f64 = 0.1;
/// Scale in metres of the score by which a location is chosen, that of `landfall_model::pin::mode`.
const MODE_SCALE_M: f64 = 2_000_000.0;
/// Number of cells, the most likely ones, whose locations are tried.
const CANDIDATES: usize = 48;

/// The cells that hints allow, each with the share of its places that lie where the hints hold.
#[derive(Debug)]
pub(crate) struct HintedCells {
    hints: Hints,
    /// The allowed cells; their mean location and spread are those of the allowed places.
    table: CellTable,
    parts: Vec<Part>,
}

/// The allowed part of a cell.
#[derive(Debug)]
struct Part {
    /// Index of the cell in the bundle's table.
    index: usize,
    /// Share of the cell's places, above 0 to 1.
    share: f64,
    /// Descendants of the cell that make up the part; empty for a whole cell.
    samples: Vec<CellID>,
}

impl HintedCells {
    /// The cells of a table that the hints allow.
    ///
    /// # Errors
    /// A usage error when there are none, which names the hint, or the combination of hints, at fault.
    pub(crate) fn new(hints: Hints, table: &CellTable) -> Result<Self> {
        let texts = hints.texts();
        if let Some(found) = Self::find(hints.clone(), table) {
            return Ok(found);
        }
        let alone = hints.0.iter().find(|hint| Self::find(Hints::new(vec![(*hint).clone()]), table).is_none());
        Err(usage_error(match alone {
            Some(Hint { text, .. }) => format!("{text}: the bundle knows no place there"),
            None => format!("{}: the bundle knows no place where all of these hold", texts.join("; ")),
        }))
    }

    /// The cells of a table that the hints allow; `None` if there are none.
    pub(crate) fn find(hints: Hints, table: &CellTable) -> Option<Self> {
        let mut parts = Vec::new();
        let mut cells = Vec::new();
        for (index, cell) in table.cells.iter().enumerate() {
            if let Some((part, cell)) = allowed_part(&hints, index, cell) {
                parts.push(part);
                cells.push(cell);
            }
        }
        for anchor in anchors(&hints) {
            let Some(index) = table.containing(anchor) else { continue };
            if parts.iter().all(|part| part.index != index) {
                let cell = &table.cells[index];
                let samples = samples_of(cell);
                let share = samples.iter().map(|sample| sample.weight).fold(1.0, f64::min) / 2.0;
                let nearest = samples.iter().min_by(|a, b| {
                    let distance = |sample: &Sample| anchor.distance_m(sample.at);
                    distance(a).total_cmp(&distance(b))
                });
                parts.push(Part { index, share, samples: nearest.map(|sample| sample.id).into_iter().collect() });
                cells.push(Cell { at: anchor, spread_m: 0.0, ..cell.clone() });
            }
        }
        if cells.is_empty() {
            return None;
        }
        // The cells are a part of a valid table, at locations on earth.
        Some(Self { hints, table: CellTable::new(cells).ok()?, parts })
    }

    /// The options that state the hints.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.hints.texts()
    }

    /// Whether the hints hold at a location.
    pub(crate) fn allow(&self, at: LatLng) -> bool {
        self.hints.hold_at(at)
    }

    /// The share of a distribution over the cells of the whole table that lies where the hints hold.
    pub(crate) fn mass(&self, probabilities: &[f64]) -> f64 {
        self.parts.iter().map(|part| probabilities[part.index] * part.share).sum()
    }

    /// A posterior over the whole table, given that the hints hold.
    pub(crate) fn narrow(&self, posterior: &Posterior<'_>) -> Option<Posterior<'_>> {
        let log_p = posterior.log_probabilities();
        let log_p: Vec<f64> = self.parts.iter().map(|part| log_p[part.index] + libm::log(part.share)).collect();
        Some(Posterior::fuse(&self.table, &[vec![0.0; log_p.len()]], 1.0)?.with_prior(&log_p, 1.0))
    }

    /// The probability of every cell of the whole table, from a posterior over the allowed ones.
    pub(crate) fn heat(&self, narrowed: &Posterior<'_>, table: &CellTable) -> Vec<CellProbability> {
        let none = |cell: &Cell| CellProbability { at: cell.at, spread_m: cell.spread_m, p: 0.0 };
        let mut heat: Vec<CellProbability> = table.cells.iter().map(none).collect();
        for (part, p) in self.parts.iter().zip(narrowed.probabilities()) {
            heat[part.index].p = p;
        }
        heat
    }

    /// S2 cells that make up the allowed part of the cell at this index of the narrowed table.
    pub(crate) fn area_of(&self, index: usize) -> Vec<CellID> {
        match &self.parts[index].samples[..] {
            [] => vec![CellID::from_token(&self.table.cells[index].token)],
            samples => samples.to_vec(),
        }
    }
}

/// The location with the highest expected score among the mean locations of the most likely cells that are allowed.
pub(crate) fn best_location(posterior: &Posterior<'_>, is_allowed: impl Fn(LatLng) -> bool) -> Option<Pin> {
    let scale = MapScale::try_from(MODE_SCALE_M).unwrap_or(MapScale::WORLD);
    let locations =
        posterior.top(usize::MAX).into_iter().filter(|(_, p)| *p > 0.0).map(|(i, _)| posterior.table.cells[i].at);
    let scored = locations.filter(|at| is_allowed(*at)).take(CANDIDATES);
    let scored = scored.map(|at| (pin::expected_score(posterior, at, scale), at));
    // The first of equals: the most likely cell.
    let best = scored.reduce(|best, other| if other.0 > best.0 { other } else { best })?.1;
    Some(Pin { at: best, expected_score: pin::expected_score(posterior, best, MapScale::WORLD) })
}

/// A small part of a cell.
struct Sample {
    id: CellID,
    at: LatLng,
    vector: [f64; 3],
    /// Share of the places of the cell that are assumed to lie in it.
    weight: f64,
}

/// The samples of a cell. Their weights follow a normal distribution around the mean location of the training places, with
/// their spread, cut off at the border of the cell, and a little of a uniform one.
fn samples_of(cell: &Cell) -> Vec<Sample> {
    let id = CellID::from_token(&cell.token);
    let level = (cell.level + SAMPLE_LEVELS).clamp(MIN_SAMPLE_LEVEL, s2::cellid::MAX_LEVEL);
    let located = |id: CellID| {
        let point = id.raw_point();
        let at = LatLng::from_vector([point.x, point.y, point.z])?;
        Some(Sample { id, at, vector: at.to_unit_vector(), weight: 1.0 })
    };
    let mut samples: Vec<Sample> = id.child_iter_at_level(level).filter_map(located).collect();
    let n = samples.len() as f64;
    let mean = cell.at.to_unit_vector();
    let squared = |v: [f64; 3]| {
        let distance_m = arc_m(v, mean);
        distance_m * distance_m
    };
    let centre = centre_of(&samples, |_| 1.0);
    let shape = samples.iter().map(|sample| arc_m(sample.vector, centre)).map(|d| d * d).sum::<f64>() / n;
    let count = f64::from(cell.count);
    let spread = (cell.spread_m * cell.spread_m * count + shape * SHAPE_PLACES) / (count + SHAPE_PLACES);
    let nearest = samples.iter().map(|sample| squared(sample.vector)).fold(f64::INFINITY, f64::min);
    // Relative to the nearest sample, so that the sum cannot vanish.
    samples
        .iter_mut()
        .for_each(|sample| sample.weight = libm::exp((nearest - squared(sample.vector)) / spread.max(1.0)));
    let total: f64 = samples.iter().map(|sample| sample.weight).sum();
    samples.iter_mut().for_each(|sample| sample.weight = (1.0 - ANYWHERE) * sample.weight / total + ANYWHERE / n);
    samples
}

fn centre_of(samples: &[Sample], weight: impl Fn(&Sample) -> f64) -> [f64; 3] {
    let sum = samples.iter().fold([0.0; 3], |mut sum, sample| {
        for (total, x) in sum.iter_mut().zip(sample.vector) {
            *total += weight(sample) * x;
        }
        sum
    });
    let length = sum.iter().map(|x| x * x).sum::<f64>().sqrt();
    if length > 0.0 { sum.map(|x| x / length) } else { sum }
}

fn rms_distance_m(samples: &[Sample], from: [f64; 3]) -> f64 {
    let total: f64 = samples.iter().map(|sample| sample.weight).sum();
    let squares = samples.iter().map(|sample| (arc_m(sample.vector, from), sample.weight)).map(|(d, w)| w * d * d);
    (squares.sum::<f64>() / total).sqrt()
}

/// The allowed part of a cell, and the cell with the mean location and the spread of the places in it.
fn allowed_part(hints: &Hints, index: usize, cell: &Cell) -> Option<(Part, Cell)> {
    let id = CellID::from_token(&cell.token);
    let whole = || Some((Part { index, share: 1.0, samples: Vec::new() }, cell.clone()));
    match relation(hints, id) {
        Relation::Outside => return None,
        Relation::Inside if hints.hold_at(cell.at) => return whole(),
        _ => {}
    }
    let samples = samples_of(cell);
    let n = samples.len();
    let before = centre_of(&samples, |sample| sample.weight);
    let spread_before = rms_distance_m(&samples, before);
    let allowed: Vec<Sample> = samples.into_iter().filter(|sample| hints.hold_at(sample.at)).collect();
    if allowed.len() == n && hints.hold_at(cell.at) {
        return whole();
    }
    let share: f64 = allowed.iter().map(|sample| sample.weight).sum();
    if allowed.is_empty() {
        return None;
    }
    // The measured mean location, moved by as much as the mean of the samples moves.
    let after = centre_of(&allowed, |sample| sample.weight);
    let measured = cell.at.to_unit_vector();
    let moved = LatLng::from_vector(std::array::from_fn(|axis| measured[axis] + after[axis] - before[axis]));
    let nearest = allowed.iter().min_by(|a, b| arc_m(a.vector, after).total_cmp(&arc_m(b.vector, after)))?.at;
    let at = moved.filter(|at| hints.hold_at(*at)).unwrap_or(nearest);
    let spread_after = rms_distance_m(&allowed, at.to_unit_vector());
    let spread_m = if spread_before > 0.0 { cell.spread_m * (spread_after / spread_before).min(1.0) } else { 0.0 };
    let samples = allowed.into_iter().map(|sample| sample.id).collect();
    Some((Part { index, share: share.min(1.0), samples }, Cell { at, spread_m, ..cell.clone() }))
}

/// How a cell lies in relation to where the hints hold.
fn relation(hints: &Hints, id: CellID) -> Relation {
    let corners = s2::cell::Cell::from(id).vertices().map(|corner| [corner.0.x, corner.0.y, corner.0.z]);
    let centre = id.raw_point();
    let Some(centre) = LatLng::from_vector([centre.x, centre.y, centre.z]) else { return Relation::Unknown };
    let radius_m = corners.iter().map(|corner| arc_m(*corner, centre.to_unit_vector())).fold(0.0, f64::max) * 1.01;
    let of_hint = |hint: &Hint| match (hint.area.relation(centre, radius_m), hint.is_excluded) {
        (Relation::Inside, true) => Relation::Outside,
        (Relation::Outside, true) => Relation::Inside,
        (relation, _) => relation,
    };
    let relations: Vec<Relation> = hints.0.iter().map(of_hint).collect();
    match () {
        () if relations.contains(&Relation::Outside) => Relation::Outside,
        () if relations.contains(&Relation::Unknown) => Relation::Unknown,
        () => Relation::Inside,
    }
}

/// Locations where the hints hold, in the areas that the place lies in.
fn anchors(hints: &Hints) -> Vec<LatLng> {
    let areas = hints.0.iter().filter(|hint| !hint.is_excluded);
    areas.flat_map(|hint| hint.area.anchors()).filter(|at| hints.hold_at(*at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use landfall_model::{Bundle, countries};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static BUNDLE: LazyLock<Bundle> = LazyLock::new(|| Bundle::find("pocket").unwrap());

    fn posterior() -> Posterior<'static> {
        let logits: Vec<f32> = (0..BUNDLE.cells.cells.len()).map(|i| ((i * 7919) % 101) as f32 / 20.0).collect();
        Posterior::fuse(&BUNDLE.cells, &[logits], 1.0).unwrap()
    }

    fn cells_of(hints: Vec<Hint>) -> Result<HintedCells> {
        HintedCells::new(Hints::new(hints), &BUNDLE.cells)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn no_probability_is_outside_and_the_rest_keeps_its_proportions(
            lat in -60.0..75.0f64, lng in -180.0..180.0f64, radius_km in 5.0..5000.0f64, hole_km in 1.0..2000.0f64,
        ) {
            let hints = vec![
                Hint::near(&format!("{lat},{lng},{radius_km}")).unwrap(),
                Hint::exclude(&format!("{lat},{lng},{}", hole_km.min(radius_km * 0.7))).unwrap(),
            ];
            let Ok(cells) = cells_of(hints) else { return Ok(()) };
            let (before, p) = (posterior(), posterior().probabilities());
            let narrowed = cells.narrow(&before).unwrap();
            prop_assert!((narrowed.probabilities().iter().sum::<f64>() - 1.0).abs() < 1e-9);
            prop_assert!(narrowed.table.cells.iter().all(|cell| cells.allow(cell.at)));
            let mass = cells.mass(&p);
            prop_assert!(mass > 0.0 && mass <= 1.0 + 1e-9);
            for (cell, after) in cells.heat(&narrowed, &BUNDLE.cells).iter().zip(&p) {
                // At most all of the cell's probability, in proportion to the others.
                prop_assert!(cell.p * mass <= after + 1e-9);
            }
            let pin = best_location(&narrowed, |at| cells.allow(at)).unwrap();
            prop_assert!(cells.allow(pin.at));
        }
    }

    #[test]
    fn a_hint_that_holds_everywhere_changes_nothing() {
        let cells = cells_of(vec![Hint::near("0,0,20016").unwrap()]).unwrap();
        let (before, after) = (posterior(), cells.narrow(&posterior()).unwrap().probabilities());
        assert!((cells.mass(&before.probabilities()) - 1.0).abs() < 1e-9);
        assert!(before.probabilities().iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-12));
        assert_eq!(cells.table.cells, BUNDLE.cells.cells);
    }

    #[test]
    fn the_parts_of_a_divided_cell_are_the_cell() {
        let p = posterior().probabilities();
        let mass = |hints| cells_of(hints).unwrap().mass(&p);
        let (inside, outside) = (Hint::near("48.86,2.35,300").unwrap(), Hint::exclude("48.86,2.35,300").unwrap());
        assert!((mass(vec![inside]) + mass(vec![outside]) - 1.0).abs() < 1e-9);
        let countries = |code: &str| mass(vec![Hint::country(code).unwrap()]);
        assert!((countries("FR,BE") - countries("FR") - countries("BE")).abs() < 1e-9);
    }

    #[test]
    fn areas_smaller_than_the_samples_are_found() {
        for hints in [
            vec![Hint::country("MC").unwrap()],
            vec![Hint::country("VA").unwrap()],
            vec![Hint::near("48.8584,2.2945,0.1").unwrap()],
            vec![Hint::bounds("48.85,2.29,48.86,2.30").unwrap()],
        ] {
            let cells = cells_of(hints.clone()).unwrap_or_else(|error| panic!("{hints:?}: {error}"));
            let narrowed = cells.narrow(&posterior()).unwrap();
            assert!(!cells.area_of(0).is_empty() && narrowed.table.cells.iter().all(|cell| cells.allow(cell.at)));
        }
    }

    #[test]
    fn impossible_hints_are_named() {
        let error = |hints| cells_of(hints).unwrap_err().to_string();
        let (spain, tokyo) = (Hint::country("ES").unwrap(), Hint::near("35.7,139.7,100").unwrap());
        assert_eq!(
            error(vec![spain.clone(), tokyo.clone()]),
            "country ES; near 35.7,139.7,100: the bundle knows no place where all of these hold"
        );
        let nowhere = Hint::exclude("0,0,20016").unwrap();
        assert_eq!(error(vec![spain.clone(), nowhere]), "exclude 0,0,20016: the bundle knows no place there");
        assert!(cells_of(vec![spain]).is_ok() && cells_of(vec![tokyo]).is_ok());
    }

    #[test]
    fn countries_of_all_sizes_have_cells() {
        let known: Vec<&str> =
            countries::all().iter().filter(|country| !country.shape.0.is_empty()).map(|country| country.iso2).collect();
        for code in known.iter().step_by(20) {
            assert!(cells_of(vec![Hint::country(code).unwrap()]).is_ok(), "{code}");
        }
    }
}
