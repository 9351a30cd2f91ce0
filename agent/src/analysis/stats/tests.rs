use landfall_common::fs::f32_to_le_bytes;
use landfall_model::LatLng;

use super::*;

fn round(lat: f64, points: Option<f64>, views: usize, bundle: &str) -> ScoredRound {
    ScoredRound {
        folder: format!("game/{lat}"),
        game: Some(format!("game of {lat}").into()),
        bundle: Some(bundle.to_owned()),
        views,
        points,
        expected: points.map(|points| points - 100.0),
        distance_km: points.map(|points| 5000.0 - points),
        truth: Some(LatLng::new(lat, 2.0).unwrap()),
        country: Some("FR"),
        has_guess: true,
        guess_country: Some(if points > Some(3000.0) { "FR" } else { "ES" }),
        place: None,
        mass_before_truth: points.map(|points| 1.0 - points / 5000.0),
    }
}

#[test]
fn rounds_are_grouped_by_views_bundle_and_country() {
    let rounds = [
        round(40.0, Some(1000.0), 1, "desktop@2026.9.1"),
        round(40.0, Some(2000.0), 4, "desktop@2026.11.1"),
        round(41.0, Some(4500.0), 4, "desktop@2026.11.1"),
        round(42.0, Some(4900.0), 4, "desktop@2026.11.1"),
        round(43.0, None, 4, "desktop@2026.11.1"),
    ];
    let stats = Stats::of(&rounds);
    assert_eq!((stats.rounds, stats.games, stats.places, stats.without_points), (4, 3, 3, 1));
    assert_eq!((stats.points.value, stats.median_km), (3100.0, Some(1750.0)));
    assert!(stats.points.low < Some(3100.0) && stats.points.high > Some(3100.0), "{:?}", stats.points);
    let by_views: Vec<_> = stats.by_views.iter().map(|part| (part.views, part.rounds, part.points.value)).collect();
    assert_eq!(by_views, [(1, 1, 1000.0), (4, 3, 3800.0)]);
    let bundles: Vec<_> = stats.by_bundle.iter().map(|part| (part.bundle.as_deref(), part.rounds)).collect();
    assert_eq!(bundles, [(Some("desktop@2026.9.1"), 1), (Some("desktop@2026.11.1"), 3)]);
    assert_eq!(stats.right_country, Some(50.0));
    assert_eq!(stats.confusions, [Confusion { truth: "FR", guess: Some("ES"), rounds: 2, points: 1500.0 }]);
    assert_eq!((stats.best[0].points, stats.worst[0].points), (4900.0, 1000.0));
    let calibration = &stats.calibration;
    assert_eq!((calibration.expected, calibration.surplus.unwrap().value), (Some(3000.0), 100.0));
    let regions = calibration.regions.unwrap();
    assert_eq!((regions.rounds, regions.in_50, regions.in_90), (4, 50.0, 100.0));
}

#[test]
fn means_without_rounds_are_null() {
    let stats = Stats::of(&[round(40.0, None, 1, "desktop@1")]);
    assert_eq!((stats.rounds, stats.without_points, stats.median_km), (0, 1, None));
    assert!(stats.by_views.is_empty() && stats.calibration.bins.is_empty() && stats.best.is_empty());
    // The mean of an empty set is null in JSON.
    assert!(serde_json::to_value(&stats).unwrap()["points"]["value"].is_null());
}

#[test]
fn rounds_with_logits_are_calibrated() {
    let dir = tempfile::tempdir().unwrap();
    let bundle = landfall_model::Bundle::find("pocket").unwrap();
    let logits: Vec<f32> = (0..bundle.cells.cells.len()).map(|i| (i % 97) as f32 / 10.0).collect();
    let fixture = include_str!("../../../../fixtures/rounds/aizkorri-meadow/round.json");
    let mut record: serde_json::Value = serde_json::from_str(fixture).unwrap();
    record["bundle"] = bundle.manifest.id().into();
    record["views"] = serde_json::json!([{"file": "view_000.jpg", "heading": 0.0, "logits": "view_000.f32"}]);
    for n in 0..20 {
        let game = dir.path().join(format!("game_{}", n / 5));
        let round = game.join(format!("round_{}", n % 5 + 1));
        std::fs::create_dir_all(&round).unwrap();
        std::fs::write(game.join("game.json"), "{}").unwrap();
        record["score"] = n.into();
        record["truth"]["lat"] = (f64::from(n) / 10.0 + 40.0).into();
        std::fs::write(round.join("round.json"), record.to_string()).unwrap();
        std::fs::write(round.join("view_000.f32"), f32_to_le_bytes(&logits)).unwrap();
    }
    let stats = stats(&[dir.path().to_owned()]).unwrap();
    assert_eq!((stats.rounds, stats.games, stats.places), (20, 4, 20));
    assert_eq!(stats.calibration.regions.unwrap().rounds, 20);
}
