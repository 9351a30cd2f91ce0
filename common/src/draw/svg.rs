//! SVG path data.

use std::fmt::Write;

use super::Point;

/// Appends a closed polygon with integer coordinates to `path`. Consecutive points that round to the same coordinates are
/// merged; polygons that collapse to fewer than three points are left out.
pub fn closed_path(points: impl Iterator<Item = Point>, path: &mut String) {
    let mut ring: Vec<(i64, i64)> = points.map(|(x, y)| (x.round() as i64, y.round() as i64)).collect();
    ring.dedup();
    // The first point is repeated at the end.
    if ring.len() < 4 {
        return;
    }
    let mut last = ring[0];
    let _ = write!(path, "M{} {}l", last.0, last.1); // writing to a String cannot fail
    for point in &ring[1..] {
        let _ = write!(path, "{} {} ", point.0 - last.0, point.1 - last.1);
        last = *point;
    }
    path.push('z');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_integer_coordinates_and_an_interior() {
        let mut path = String::new();
        closed_path([(0.2, 0.0), (10.4, 0.0), (10.1, 0.3), (10.0, 5.0), (0.0, 0.0)].into_iter(), &mut path);
        assert_eq!(path, "M0 0l10 0 0 5 -10 -5 z");
        closed_path([(0.2, 0.0), (0.4, 0.0), (1.0, 0.0)].into_iter(), &mut path);
        assert_eq!(path.matches('M').count(), 1);
    }
}
