//! Great circles.

use landfall_model::LatLng;

/// Points on the great circle between two places at `steps` equal angles, both ends included. Of antipodes, which have no
/// unique great circle, it is the one over the north pole.
pub fn great_circle(from: LatLng, to: LatLng, steps: usize) -> impl Iterator<Item = LatLng> {
    let (a, b) = (from.to_unit_vector(), to.to_unit_vector());
    let dot: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
    let angle = dot.clamp(-1.0, 1.0).acos();
    let are_antipodes = angle > std::f64::consts::PI - 1e-6;
    let over_pole = towards_pole(a);
    (0..=steps).filter_map(move |i| {
        let t = i as f64 / steps.max(1) as f64;
        if are_antipodes {
            let (sine, cosine) = (t * angle).sin_cos();
            return LatLng::from_vector(std::array::from_fn(|axis| cosine * a[axis] + sine * over_pole[axis]));
        }
        let (u, v) = match angle.sin() {
            ..1e-9 => (1.0 - t, t),
            sine => (((1.0 - t) * angle).sin() / sine, (t * angle).sin() / sine),
        };
        LatLng::from_vector(std::array::from_fn(|axis| u * a[axis] + v * b[axis]))
    })
}

/// The unit vector at right angles to `from` in the direction of the north pole; from a pole itself, along Greenwich.
fn towards_pole(from: [f64; 3]) -> [f64; 3] {
    let [x, y, z] = from;
    let horizontal = x.hypot(y);
    if horizontal < 1e-9 { [1.0, 0.0, 0.0] } else { [-z * x / horizontal, -z * y / horizontal, horizontal] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_great_circle_is_the_shortest_path() {
        let at = |lat, lng| LatLng::new(lat, lng).unwrap();
        let (from, to) = (at(51.5, -0.1), at(35.7, 139.7)); // London to Tokyo: over the Arctic
        let path: Vec<LatLng> = great_circle(from, to, 96).collect();
        let length_m: f64 = path.windows(2).map(|pair| pair[0].distance_m(pair[1])).sum();
        assert!((length_m / from.distance_m(to) - 1.0).abs() < 1e-3);
        assert!(path.iter().any(|place| place.lat > 65.0));
        assert!(great_circle(from, from, 96).all(|place| place.distance_m(from) < 1.0));
        for (from, to) in
            [(at(40.0, -3.7), at(-40.0, 176.3)), (at(90.0, 0.0), at(-90.0, 0.0)), (at(0.0, 0.0), at(0.0, 180.0))]
        {
            let path: Vec<LatLng> = great_circle(from, to, 96).collect();
            let length_m: f64 = path.windows(2).map(|pair| pair[0].distance_m(pair[1])).sum();
            assert!(path.len() == 97 && (length_m / from.distance_m(to) - 1.0).abs() < 1e-3, "{from} {to}: {length_m}");
            assert!(path[0].distance_m(from) < 1.0 && path[96].distance_m(to) < 10.0);
        }
    }
}
