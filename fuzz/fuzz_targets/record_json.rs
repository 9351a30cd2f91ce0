//! Records of rounds and games.
#![no_main]

use landfall_agent::testing::readers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    if let Ok(mut round) = readers::round(json) {
        let written = round_json(&round);
        let again = readers::round(&written).expect("what is written can be read");
        assert_eq!(round_json(&again), written);
        if let Some(at) = round.placed() {
            round.measure(at, None);
        }
    }
    _ = readers::game(json);
});

fn round_json(round: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(round).expect("a round can be written")
}
