//! Playing: `game` has the round loop, `look` takes the views, `pin` places the pin on the map, and `parallel` runs several
//! games at a time. What the pin points at is decided in `crate::inference`.

pub(crate) mod contradiction;
pub(crate) mod game;
pub(crate) mod look;
pub(crate) mod parallel;
pub(crate) mod pin;
