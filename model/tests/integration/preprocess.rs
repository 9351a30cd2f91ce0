//! Preprocessing against golden images: identical bytes on every platform, and those of Pillow (`golden/make.py`) except for
//! rounding.

use std::path::PathBuf;

use landfall_model::preprocess::{self, Crop, Preprocess, Resize, Square};

const CLIP: Preprocess = Preprocess {
    size: 224,
    resize: Resize::Bicubic,
    crop: Crop::Center,
    details: Vec::new(),
    mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
    std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
};

fn golden(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden", name].iter().collect()
}

/// sha256 of the resized bytes on every platform.
const OURS: [(&str, &str); 3] = [
    ("wide", "8763c1780efe9b12ac9dac1835deea76c285720f2ff1799668c84cded3f6b557"),
    ("tall", "6a61a29d6133ed20d8fc478622edd08541932056092e08eeb5ecc904c902bad8"),
    ("small", "2b28406c7316f7252020d357f9fe0c68910dbcd8973e9d1b547e349db4d95b4d"),
];

#[test]
fn resizes_to_the_same_bytes_everywhere() {
    for (name, expected) in OURS {
        let bytes = CLIP.resize(&preprocess::open(golden(&format!("{name}.png"))).unwrap(), Square::CENTRAL);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        assert_eq!(landfall_model::bundle::sha256_of(file.path()).unwrap(), expected, "{name}");
    }
}

#[test]
fn resizes_as_pillow_does() {
    for (name, _) in OURS {
        let ours = CLIP.resize(&preprocess::open(golden(&format!("{name}.png"))).unwrap(), Square::CENTRAL);
        let theirs = preprocess::open(golden(&format!("{name}_224.png"))).unwrap().into_raw();
        let differences = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b));
        assert!(differences.clone().all(|difference| difference <= 2), "{name}: {:?}", differences.max());
        let mean = differences.map(f64::from).sum::<f64>() / ours.len() as f64;
        assert!(mean < 0.15, "{name}: off by {mean} on average");
    }
}

#[test]
fn tensors_are_planar_and_normalised() {
    let picture = preprocess::open(golden("wide.png")).unwrap();
    let (tensor, pixels) = (CLIP.tensors(&picture).next().unwrap(), CLIP.resize(&picture, Square::CENTRAL));
    assert_eq!(tensor.len(), 3 * 224 * 224);
    for (channel, row, column) in [(0, 0, 0), (1, 17, 200), (2, 223, 223)] {
        let pixel = f32::from(pixels[(row * 224 + column) * 3 + channel]) / 255.0;
        let expected = (pixel - CLIP.mean[channel]) / CLIP.std[channel];
        assert!((tensor[(channel * 224 + row) * 224 + column] - expected).abs() < 1e-6);
    }
}

#[test]
fn exif_orientation_is_applied_and_errors_name_the_file() {
    // A JPEG with a red left and a blue right half, with EXIF orientation 6: rotate by 90° clockwise.
    let picture = image::RgbImage::from_fn(64, 32, |x, _| image::Rgb(if x < 32 { [255, 0, 0] } else { [0, 0, 255] }));
    let mut jpeg = Vec::new();
    image::codecs::jpeg::JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(&picture).unwrap();
    let exif = b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    jpeg.splice(2..2, exif.iter().copied());
    let upright = preprocess::from_bytes(&jpeg).unwrap();
    assert_eq!(upright.dimensions(), (32, 64));
    assert!(upright.get_pixel(16, 8)[0] > 200 && upright.get_pixel(16, 56)[2] > 200);

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("cut.jpg");
    std::fs::write(&file, &jpeg[..90]).unwrap();
    let error = preprocess::open(&file).unwrap_err().to_string();
    assert!(error.contains("cut.jpg") && error.contains("not a readable image"), "{error}");
}
