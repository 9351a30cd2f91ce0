//! EXIF data of photos: adding a location, and reading the one that is there.
#![no_main]

use landfall_agent::testing::readers;
use landfall_model::metadata::gps;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    _ = readers::can_add_location(bytes);
    // A TIFF file is EXIF data without an image.
    let file = std::env::temp_dir().join(format!("landfall-fuzz-{}.tif", std::process::id()));
    std::fs::write(&file, bytes).expect("the temporary folder can be written");
    if let Ok(Some(at)) = gps::position(&file) {
        assert!(at.lat.abs() <= 90.0 && at.lng.abs() <= 180.0);
    }
});
