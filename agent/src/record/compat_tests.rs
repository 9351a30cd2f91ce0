//! Records that an earlier version wrote are read completely: written again, they are the same.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{FailedRound, GameRecord, Round};

fn assert_round_trip<T: DeserializeOwned + Serialize>(text: &str) {
    let record: T = serde_json::from_str(text).unwrap();
    let old: Value = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&record).unwrap(), old);
}

#[test]
fn old_records_round_trip() {
    assert_round_trip::<GameRecord>(include_str!("../../tests/compat/game/game.json"));
    assert_round_trip::<Round>(include_str!("../../tests/compat/game/round_1/round.json"));
    assert_round_trip::<FailedRound>(include_str!("../../tests/compat/game/failed_2/failed.json"));
    assert_round_trip::<Round>(include_str!("../../tests/compat/fixture.json"));
}
