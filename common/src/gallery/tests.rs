use super::*;
use std::path::Path;

use landfall_model::LatLng;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

fn manifest(dim: usize) -> Manifest {
    let json = include_bytes!("../../../model/bundles/pocket/bundle.json");
    let mut manifest = Manifest::parse(json).unwrap();
    manifest.encoder.dim = dim;
    manifest.preprocess.details.clear();
    manifest
}

/// A vector of length 1 near another one.
fn near(vector: &[f32], noise: f32, random: &mut StdRng) -> Vec<f32> {
    let mut near: Vec<f32> = vector.iter().map(|x| x + noise * (random.random::<f32>() - 0.5)).collect();
    normalise(&mut near);
    near
}

fn place(i: usize) -> LatLng {
    LatLng::new((i % 170) as f64 - 85.0, (i % 350) as f64 - 175.0).unwrap()
}

/// Writes a gallery of groups of similar vectors, which like real embeddings have a common component.
fn write(file: &Path, rows: usize, dim: usize) -> Vec<Vec<f32>> {
    let mut random = StdRng::seed_from_u64(7);
    let common = vec![0.3; dim];
    let centres: Vec<Vec<f32>> = (0..rows.div_ceil(20)).map(|_| near(&common, 1.0, &mut random)).collect();
    let vectors: Vec<Vec<f32>> = (0..rows).map(|i| near(&centres[i % centres.len()], 0.1, &mut random)).collect();
    let mut builder = GalleryBuilder::new(&manifest(dim));
    for (i, vector) in vectors.iter().enumerate() {
        builder.push(&format!("trip/{i}-é.jpg"), place(i), vector).unwrap();
    }
    builder.write(file).unwrap();
    vectors
}

/// The exact answer.
fn nearest(vectors: &[Vec<f32>], query: &[f32], k: usize) -> Vec<usize> {
    let dots: Vec<f32> = vectors.iter().map(|vector| vector.iter().zip(query).map(|(a, b)| a * b).sum()).collect();
    let mut order: Vec<usize> = (0..vectors.len()).collect();
    order.sort_by(|a, b| dots[*b].total_cmp(&dots[*a]));
    order.truncate(k);
    order
}

#[test]
fn pictures_are_found_again_with_their_names_and_places() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g.gallery");
    let vectors = write(&file, 300, 96);
    let gallery = Gallery::open(&file).unwrap();
    assert_eq!((gallery.len(), gallery.is_empty()), (300, false));
    for i in [0, 17, 299] {
        let found = gallery.nearest(&vectors[i], 5);
        assert_eq!((found[0].row, found.len()), (i, 5));
        assert!((found[0].similarity - 1.0).abs() < 0.01, "{found:?}");
        assert!(found.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
        assert_eq!(gallery.name(i), format!("trip/{i}-é.jpg"));
        assert!(gallery.place(i).unwrap().distance_m(place(i)) < 0.1);
    }
    assert!(gallery.nearest(&vectors[0][1..], 5).is_empty() && gallery.nearest(&[f32::NAN; 96], 5).is_empty());
    assert_eq!(gallery.place(300), None);

    // Rows can be taken over into another gallery, which replaces the file while this one is open.
    let mut builder = GalleryBuilder::new(&manifest(96));
    builder.push_from(&gallery, 17, place(3)).unwrap();
    assert!(GalleryBuilder::new(&manifest(64)).push_from(&gallery, 0, place(0)).is_err());
    builder.write(&file).unwrap();
    let again = Gallery::open(&file).unwrap();
    assert_eq!((again.len(), again.name(0), gallery.name(17)), (1, gallery.name(17), "trip/17-é.jpg".to_owned()));
    assert!(again.nearest(&vectors[17], 1)[0].similarity > 0.99);
}

#[test]
fn codes_find_nearly_all_of_the_nearest_pictures_of_a_large_gallery() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g.gallery");
    let vectors = write(&file, 60_000, 64);
    let gallery = Gallery::open(&file).unwrap();
    let mut random = StdRng::seed_from_u64(8);
    let (mut found, mut wanted) = (0, 0);
    for i in (0..60_000).step_by(6000) {
        let query = near(&vectors[i], 0.1, &mut random);
        let rows: Vec<usize> = gallery.nearest(&query, 10).iter().map(|found| found.row).collect();
        let exact = nearest(&vectors, &query, 10);
        found += exact.iter().filter(|row| rows.contains(row)).count();
        wanted += exact.len();
    }
    assert!(found * 100 >= wanted * 90, "{found} of {wanted}");
}

#[test]
fn the_vector_of_an_image_is_the_mean_of_its_squares() {
    let vector = pooled(&[1.0, 0.0, 0.0, 1.0], 2);
    assert!((vector[0] - 0.5f32.sqrt()).abs() < 1e-6 && (vector[1] - vector[0]).abs() < 1e-6, "{vector:?}");
    assert_eq!(pooled(&[], 3).len(), 1);
}

#[test]
fn similar_pictures_move_the_answer_within_the_likely_cells() {
    use landfall_model::cells::leaf;
    use landfall_model::{Cell, CellTable, Posterior};
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g.gallery");
    let (lyon, turin, sydney) = ((45.9, 4.7), (45.1, 7.7), (-33.7, 150.8));
    let at = |(lat, lng): (f64, f64)| LatLng::new(lat, lng).unwrap();
    let mut builder = GalleryBuilder::new(&manifest(2));
    for (name, place, vector) in
        [("a", turin, [1.0, 0.0]), ("b", sydney, [0.9f32, 0.19f32.sqrt()]), ("c", lyon, [0.0, 1.0])]
    {
        builder.push(name, at(place), &vector).unwrap();
    }
    builder.write(&file).unwrap();
    let gallery = Gallery::open(&file).unwrap();
    let cell = |place| {
        let token = leaf(at(place)).parent(6).to_token();
        Cell { token, level: 6, at: at(place), spread_m: 3e4, count: 1, country: None }
    };
    let table = CellTable::new([lyon, turin, sydney].map(cell).into()).unwrap();
    let posterior = Posterior::fuse(&table, &[[0.6f32.ln(), 0.399f32.ln(), 0.001f32.ln()]], 1.0).unwrap();
    let matches = gallery.nearest(&[1.0, 0.0], 3);
    let refinement = Refinement { pictures: 2, similarity_scale: 0.03, length_m: 1e5, weight: 3.0 };
    let refined = refinement.apply(&posterior, &gallery, &matches).probabilities();
    assert!(refined[1] > 0.6 && refined[0] < 0.4 && refined[2] < 0.01, "{refined:?}");
    assert_eq!(refinement.apply(&posterior, &gallery, &[]).probabilities(), posterior.probabilities());
    // Of several views, each picture counts once.
    let rows: Vec<usize> =
        gallery.nearest_to_views(&[[1.0, 0.0], [0.0, 1.0]], 2).iter().map(|found| found.row).collect();
    assert_eq!(rows, [0, 2]);
}

#[test]
fn other_encoders_and_other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("g.gallery");
    write(&file, 3, 64);
    let gallery = Gallery::open(&file).unwrap();
    gallery.check_encoder(&manifest(64)).unwrap();
    let mut other = manifest(64);
    (other.encoder.sha256, other.name) = ("0".repeat(64), "mine".to_owned());
    let error = gallery.check_encoder(&other).unwrap_err().to_string();
    assert!(
        error.contains("g.gallery") && error.contains("--bundle pocket") && error.contains("--bundle mine"),
        "{error}"
    );
    let bytes = std::fs::read(&file).unwrap();
    let open = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        format!("{:#}", Gallery::open(&file).unwrap_err())
    };
    assert!(open(b"file,lat,lng\n").contains("not a gallery"));
    assert!(open(b"").contains("g.gallery"));
    let mut later = bytes.clone();
    later[8] = 9;
    assert!(open(&later).contains("another version"));
    assert!(open(&bytes[..bytes.len() - 1]).contains("damaged"));
    assert!(Gallery::open(dir.path()).unwrap_err().to_string().contains("not a regular file"));
    assert!(format!("{:#}", Gallery::open(&dir.path().join("none")).unwrap_err()).contains("cannot read the gallery"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(
        rows in prop::collection::vec((".{0,12}", -90.0..90.0f64, -180.0..180.0f64), 0..20),
        dim in 1usize..130,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("g");
        let mut random = StdRng::seed_from_u64(dim as u64);
        let mut builder = GalleryBuilder::new(&manifest(dim));
        for (name, lat, lng) in &rows {
            let vector = near(&vec![0.0; dim], 1.0, &mut random);
            builder.push(name, LatLng::new(*lat, *lng).unwrap(), &vector).unwrap();
        }
        builder.write(&file).unwrap();
        let gallery = Gallery::open(&file).unwrap();
        prop_assert_eq!(gallery.len(), rows.len());
        for (i, (name, lat, lng)) in rows.iter().enumerate() {
            prop_assert_eq!(&gallery.name(i), name);
            prop_assert!(gallery.place(i).unwrap().distance_m(LatLng::new(*lat, *lng).unwrap()) < 0.1);
        }
    }

    #[test]
    fn damaged_files_are_errors_or_answers_and_never_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8), cut in prop::option::of(any::<prop::sample::Index>())) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("g");
        let vectors = write(&file, 12, 64);
        let mut bytes = std::fs::read(&file).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&file, &bytes).unwrap();
        if let Ok(gallery) = Gallery::open(&file) {
            let found = gallery.nearest(&vectors[0], 20);
            prop_assert!(found.len() <= gallery.len());
            for found in found {
                prop_assert!((-1.0..=1.0).contains(&found.similarity));
                gallery.name(found.row);
                prop_assert!(gallery.place(found.row).is_none_or(|at| LatLng::new(at.lat, at.lng).is_ok()));
            }
        }
    }
}
