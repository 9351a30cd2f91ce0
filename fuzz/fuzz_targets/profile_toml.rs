//! Site profiles.
#![no_main]

use landfall_agent::testing::readers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(profile) = readers::profile(text) {
        _ = profile.scale("World", "/maps/world");
        _ = profile.area("World", "/maps/world");
        assert!(profile.max_points() > 0.0);
    }
});
