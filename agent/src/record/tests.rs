use super::*;

#[test]
fn logits_keep_every_bit() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("view_000.f32");
    let logits = [1.5f32, -0.0, f32::MIN_POSITIVE, 3.402_823e38];
    write(&file, &logits_to_bytes(&logits)).unwrap();
    assert_eq!(read_logits(&file).unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>(), logits.map(f32::to_bits));
    fs::write(&file, [1, 2, 3]).unwrap();
    assert!(read_logits(&file).unwrap_err().to_string().contains("cut off"));
}

#[test]
fn a_record_does_not_reach_out_of_its_folder() {
    let dir = Path::new("round_1");
    assert_eq!(beside(dir, "view_000.jpg"), Some(dir.join("view_000.jpg")));
    for name in ["../x.jpg", "/etc/passwd", "a/b.jpg", "", "..", "."] {
        assert_eq!(beside(dir, name), None, "{name}");
    }
}

#[test]
fn logits_are_those_of_all_views_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let text = r#"{"format":1,"map":{"name":"W","scale_m":1000},"views":[
        {"file":"a.jpg","heading":0,"logits":"a.f32"},{"file":"b.jpg","heading":90,"logits":"b.f32"}]}"#;
    let round: Round = serde_json::from_str(text).unwrap();
    for (file, row) in [("a.f32", 1.0f32), ("b.f32", 2.0)] {
        assert!(round.logits(dir.path()).unwrap().is_none());
        write(&dir.path().join(file), &logits_to_bytes(&[row])).unwrap();
    }
    assert_eq!(round.logits(dir.path()).unwrap().unwrap(), [[1.0], [2.0]]);
    fs::write(dir.path().join("b.f32"), [1]).unwrap();
    assert!(round.logits(dir.path()).unwrap_err().to_string().contains("b.f32"));
}

#[test]
fn a_fixture_is_a_round_and_coordinates_keep_every_bit() {
    let text = r#"{"format":1,"name":"A","map":{"name":"World","scale_m":14916862},
        "truth":{"lat":48.88888888888888,"lng":0.1},"views":[{"file":"view_000.jpg","heading":0.0}]}"#;
    let round: Round = serde_json::from_str(text).unwrap();
    let again: Round = serde_json::from_str(&serde_json::to_string(&round).unwrap()).unwrap();
    assert_eq!(again.truth, round.truth);
    assert!(!serde_json::to_string(&round).unwrap().contains("seconds"));
    assert!(serde_json::from_str::<Round>(&text.replace("14916862", "-1")).is_err());
}

#[test]
fn a_shown_distance_allows_the_points_that_its_rounding_allows() {
    let text = r#"{"format":1,"map":{"name":"World","scale_m":14916862},"views":[]}"#;
    let measured = |truth: Option<LatLng>, page_score: Option<u32>, shown: Option<Distance>| {
        let mut round: Round = serde_json::from_str(text).unwrap();
        (round.truth, round.page_score) = (truth, page_score);
        round.measure(LatLng { lat: 0.0, lng: 0.0 }, shown);
        round
    };
    // A round of the live game: 394,514.7 m, 3838 points, which a page shows as 395 km; that allows 3836 to 3838.
    let shown = Some(Distance { metres: 395_000.0, within_m: 500.0 });
    let score = |page: Option<u32>| measured(None, page, shown).score;
    assert_eq!(score(None), Some(3837));
    for (page, ours) in [(3836, 3836), (3837, 3837), (3838, 3838), (3839, 3838), (4000, 3838), (0, 3836)] {
        assert_eq!(score(Some(page)), Some(ours), "{page}");
    }
    let round = measured(None, Some(3838), shown);
    assert_eq!((round.distance_m, round.distance_within_m), (Some(395_000.0), Some(500.0)));
    let again: Round = serde_json::from_str(&serde_json::to_string(&round).unwrap()).unwrap();
    assert_eq!(again.distance_within_m, Some(500.0));
    // The truth, where it is known, is better than words; and nothing known is nothing counted.
    let told = measured(Some(LatLng { lat: 0.0, lng: 0.0 }), Some(1), shown);
    assert_eq!((told.distance_m, told.distance_within_m, told.score), (Some(0.0), None, Some(5000)));
    let silent = measured(None, Some(1), None);
    assert_eq!((silent.distance_m, silent.score), (None, None));
    assert!(!serde_json::to_string(&silent).unwrap().contains("within"));
}

#[test]
fn two_games_in_one_second_get_two_folders() {
    let dir = tempfile::tempdir().unwrap();
    let a = Recorder::create(dir.path(), "arena", "Landfall Arena").unwrap();
    let b = Recorder::create(dir.path(), "arena", "Landfall Arena").unwrap();
    assert_ne!(a.dir, b.dir);
    assert!(a.dir.file_name().unwrap().to_string_lossy().contains("_arena_landfall-arena"));
}
