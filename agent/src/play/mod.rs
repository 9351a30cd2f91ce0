//! Playing: the round loop, looking around, and placing the pin.

pub(crate) mod game;
pub(crate) mod look;
pub(crate) mod parallel;
pub(crate) mod pin;
