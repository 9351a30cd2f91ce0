//! Lines over the earth and on paper, for whatever draws: the shortest way between two places, and rings as SVG paths.

use std::fmt::Write;

use landfall_model::LatLng;

/// The great circle from one place to another in so many steps, both ends with it. Antipodes have no one way: what lies
/// between them is left out.
pub(crate) fn great_circle(from: LatLng, to: LatLng, steps: usize) -> impl Iterator<Item = LatLng> {
    let (a, b) = (from.to_unit_vector(), to.to_unit_vector());
    let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    let angle = dot.clamp(-1.0, 1.0).acos();
    (0..=steps).filter_map(move |i| {
        let t = i as f64 / steps.max(1) as f64;
        let (u, v) = match angle.sin() {
            ..1e-9 => (1.0 - t, t),
            sine => (((1.0 - t) * angle).sin() / sine, (t * angle).sin() / sine),
        };
        LatLng::from_vector(std::array::from_fn(|axis| u * a[axis] + v * b[axis]))
    })
}

/// Appends a closed ring as a path of whole numbers; what falls together on their grid is left out, and with it rings that
/// have no inside.
pub(crate) fn ring(points: impl Iterator<Item = (f64, f64)>, path: &mut String) {
    let mut ring: Vec<(i64, i64)> = points.map(|(x, y)| (x.round() as i64, y.round() as i64)).collect();
    ring.dedup();
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

    fn at(lat: f64, lng: f64) -> LatLng {
        LatLng::new(lat, lng).unwrap()
    }

    #[test]
    fn the_way_is_the_shortest() {
        let (from, to) = (at(51.5, -0.1), at(35.7, 139.7)); // London to Tokyo: over the Arctic
        let way: Vec<LatLng> = great_circle(from, to, 96).collect();
        let length: f64 = way.windows(2).map(|pair| pair[0].distance_m(pair[1])).sum();
        assert!((length / from.distance_m(to) - 1.0).abs() < 1e-3);
        assert!(way.iter().any(|place| place.lat > 65.0));
        assert!(great_circle(from, from, 96).all(|place| place.distance_m(from) < 1.0));
    }

    #[test]
    fn a_ring_is_on_a_grid_and_has_an_inside() {
        let mut path = String::new();
        ring([(0.2, 0.0), (10.4, 0.0), (10.1, 0.3), (10.0, 5.0), (0.0, 0.0)].into_iter(), &mut path);
        assert_eq!(path, "M0 0l10 0 0 5 -10 -5 z");
        ring([(0.2, 0.0), (0.4, 0.0), (1.0, 0.0)].into_iter(), &mut path);
        assert_eq!(path.matches('M').count(), 1);
    }
}
