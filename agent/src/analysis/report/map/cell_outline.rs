//! Outlines of S2 cells.

use landfall_model::LatLng;
use s2::cell::Cell;
use s2::cellid::CellID;

/// Points per side of a cell: sides are great circles, which are curved on a map.
const BETWEEN: usize = 4;

/// The outline of an S2 cell; `None` if the token is invalid.
pub(super) fn outline(token: &str) -> Option<Vec<LatLng>> {
    let is_token = (1..=16).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = is_token.then(|| CellID::from_token(token)).filter(CellID::is_valid)?;
    let corners = Cell::from(id).vertices().map(|corner| [corner.0.x, corner.0.y, corner.0.z]);
    // The sides of small cells are straight enough.
    let between = if id.level() > 5 { 1 } else { BETWEEN };
    let side = |i: usize| {
        let (from, to) = (corners[i], corners[(i + 1) % 4]);
        (0..between).filter_map(move |step| {
            let t = step as f64 / between as f64;
            LatLng::from_vector(std::array::from_fn(|axis| (1.0 - t) * from[axis] + t * to[axis]))
        })
    };
    Some((0..4).flat_map(side).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlines_surround_their_cell_and_invalid_tokens_have_none() {
        let outline_of = |token: &str| outline(token).unwrap();
        assert_eq!((outline_of("89c25c").len(), outline_of("47").len()), (4, 16));
        let middle = LatLng::mean(outline_of("89c25c").into_iter().map(|corner| (corner, 1.0))).unwrap();
        assert!(middle.distance_m(LatLng::new(40.73, -73.98).unwrap()) < 20_000.0, "{middle}");
        for token in ["", "zz", "x89c25c", "0", "89c25c89c25c89c25c", "<b>"] {
            assert!(outline(token).is_none(), "{token}");
        }
    }
}
