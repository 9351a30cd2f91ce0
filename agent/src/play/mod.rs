//! Playing: `game` has the round loop, `look` takes the views, `decider` says where the pin goes, `pin` places it on the map,
//! and `parallel` runs several games at a time. A bundle's decision is made in `crate::inference`.

pub(crate) mod contradiction;
pub(crate) mod decider;
pub(crate) mod game;
pub(crate) mod look;
pub(crate) mod parallel;
pub(crate) mod pin;
