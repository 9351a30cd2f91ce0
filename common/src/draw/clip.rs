//! Polygon clipping.

use super::Point;

/// The part of a polygon inside the rectangle from `min` to `max`.
///
/// Sutherland and Hodgman 1974, "Reentrant polygon clipping".
pub fn clip_to_rect(mut ring: Vec<Point>, min: Point, max: Point) -> Vec<Point> {
    // Signed distance to each edge, positive inside.
    let edges: [&dyn Fn(Point) -> f64; 4] =
        [&|(x, _)| x - min.0, &|(x, _)| max.0 - x, &|(_, y)| y - min.1, &|(_, y)| max.1 - y];
    for inside in edges {
        let mut kept = Vec::with_capacity(ring.len());
        for (i, to) in ring.iter().enumerate() {
            let from = ring[(i + ring.len() - 1) % ring.len()];
            let (a, b) = (inside(from), inside(*to));
            if (a < 0.0) != (b < 0.0) {
                let t = a / (a - b);
                kept.push((from.0 + t * (to.0 - from.0), from.1 + t * (to.1 - from.1)));
            }
            if b >= 0.0 {
                kept.push(*to);
            }
        }
        ring = kept;
    }
    ring
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_cut_off() {
        let (min, max) = ((0.0, 0.0), (10.0, 5.0));
        let square = vec![(-100.0, -100.0), (200.0, -100.0), (200.0, 200.0), (-100.0, 200.0)];
        let mut clipped = clip_to_rect(square, min, max);
        clipped.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        assert_eq!(clipped, [(0.0, 0.0), (0.0, 5.0), (10.0, 0.0), (10.0, 5.0)]);
        assert!(clip_to_rect(vec![(-50.0, 0.0), (-40.0, 0.0), (-40.0, 10.0)], min, max).is_empty());
        let triangle = vec![(1.0, 1.0), (2.0, 1.0), (2.0, 2.0)];
        assert_eq!(clip_to_rect(triangle.clone(), min, max).len(), triangle.len());
    }
}
