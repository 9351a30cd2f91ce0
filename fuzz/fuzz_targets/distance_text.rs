//! Distances in the text of pages.
#![no_main]

use landfall_agent::testing::readers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some((metres, within_m)) = readers::distance(text) {
        assert!(metres.is_finite() && metres >= 0.0 && within_m.is_finite() && within_m >= 0.0);
    }
});
