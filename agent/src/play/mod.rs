//! Playing: the round loop, looking around, and placing the pin.

pub mod game;
pub mod look;
pub mod parallel;
pub mod pin;
