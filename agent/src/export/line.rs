//! Lines from the truth to the prediction.

use landfall_common::draw::geodesic;
use landfall_model::LatLng;

/// Distance in metres between the points of a line. The error of straight segments is less than a pixel of a world map.
const MAX_SEGMENT_M: f64 = 100_000.0;

/// The great circle as `[longitude, latitude]`, split in two where it crosses the date line.
pub(super) fn great_circle(from: LatLng, to: LatLng) -> Vec<Vec<[f64; 2]>> {
    let steps = (from.distance_m(to) / MAX_SEGMENT_M).ceil().max(1.0) as usize;
    let mut line: Vec<LatLng> = geodesic::great_circle(from, to, steps).skip(1).collect();
    line.pop();
    line.push(to); // exact, without rounding errors
    let (mut segments, mut last) = (vec![vec![[from.lng, from.lat]]], from);
    for next in line {
        let turn = ((next.lng - last.lng) / 360.0).round() * 360.0;
        if turn != 0.0 {
            // The intersection of the segment with the meridian of 180 degrees.
            let edge = 180.0_f64.copysign(last.lng);
            let span = next.lng - turn - last.lng;
            let part = if span == 0.0 { 0.0 } else { (edge - last.lng) / span };
            let lat = last.lat + part * (next.lat - last.lat);
            segments.last_mut().into_iter().for_each(|line| line.push([edge, lat]));
            segments.push(vec![[-edge, lat]]);
        }
        segments.last_mut().into_iter().for_each(|line| line.push([next.lng, next.lat]));
        last = next;
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_great_circles() {
        let place = |lat, lng| LatLng::new(lat, lng).unwrap();
        let (from, to) = (place(51.5, -0.1), place(35.7, 139.7));
        let points: Vec<[f64; 2]> = great_circle(from, to).concat();
        let length: f64 = points.windows(2).map(|p| place(p[0][1], p[0][0]).distance_m(place(p[1][1], p[1][0]))).sum();
        assert!((length - from.distance_m(to)).abs() < 10.0, "{length}");
        assert_eq!(great_circle(from, from), [[[-0.1, 51.5], [-0.1, 51.5]]]);
    }

    #[test]
    fn no_line_jumps_across_the_map_or_leaves_it() {
        let place = |lat, lng| LatLng::new(lat, lng).unwrap();
        for (from, to) in [
            (place(10.0, -170.0), place(12.0, 165.0)),
            (place(80.0, 20.0), place(79.0, -160.0)),
            (place(40.0, -3.7), place(-40.0, 176.3)),
            (place(0.0, 0.0), place(0.0, 180.0)),
            (place(90.0, 0.0), place(-90.0, 0.0)),
            (place(90.0, 0.0), place(89.9, 120.0)),
            (place(-16.5, 180.0), place(-16.5, -180.0)),
            (place(-16.5, 180.0), place(-16.5, 179.0)),
            (place(-80.0, 179.9), place(-80.0, -0.1)),
        ] {
            let lines = great_circle(from, to);
            let ends = (lines.first().and_then(|line| line.first()), lines.last().and_then(|line| line.last()));
            assert_eq!(ends, (Some(&[from.lng, from.lat]), Some(&[to.lng, to.lat])));
            for line in &lines {
                assert!(line.len() >= 2, "{from} {to}: {lines:?}");
                let is_on_map = |[lng, lat]: &[f64; 2]| lng.abs() <= 180.0 && lat.abs() <= 90.0;
                assert!(line.iter().all(is_on_map), "{from} {to}: {line:?}");
                assert!(line.windows(2).all(|pair| (pair[0][0] - pair[1][0]).abs() <= 180.0), "{from} {to}: {line:?}");
            }
            let points: Vec<LatLng> = lines.concat().iter().map(|[lng, lat]| place(*lat, *lng)).collect();
            let length: f64 = points.windows(2).map(|pair| pair[0].distance_m(pair[1])).sum();
            assert!(
                (length / from.distance_m(to).max(1.0) - 1.0).abs() < 0.05 || length < 1.0,
                "{from} {to}: {length}"
            );
        }
    }
}
