//! From pictures to an answer: classifying views, fusing them, choosing the pin, and when to stop looking.

mod area;
mod decide;
mod heat;
mod round;
pub mod stopping;

pub use decide::{Question, answer, believe, decide};
pub use heat::{Spot, heat};
pub use round::{Mind, Thought};
