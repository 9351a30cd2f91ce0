//! From geotagged photographs to a bundle: what the commands of `landfall-train` are made of.
//!
//! [`partition`] cuts the earth into cells, [`embed`] keeps the encoder's features, [`fit`] learns a head on them,
//! [`export`] makes the bundle and [`evaluate`] measures it.

pub mod analyse;
mod args;
pub mod checkpoint;
#[cfg(feature = "cluster")]
pub mod cluster;
pub mod collect;
pub mod compare;
pub mod cut;
pub mod dataset;
pub mod embed;
pub mod encoder_spec;
pub mod evaluate;
pub mod export;
pub mod feature_store;
pub mod feed;
pub mod files;
pub mod finetune;
pub mod fit;
mod hash;
pub mod head;
pub mod held_out;
mod html;
pub mod images;
pub mod index;
mod interrupt;
pub mod live;
pub mod lr_find;
pub mod material;
pub mod merge;
pub mod metrics;
pub mod nn;
pub mod objective;
pub mod onnx;
pub mod overfit;
pub mod partition;
pub mod pool;
pub mod prior;
pub mod quantise;
pub mod recipe;
pub mod samples;
pub mod schedule;
pub mod source;
pub mod split_rules;
mod storage;
mod table;
pub mod targets;
pub mod train;
pub mod trainee;
pub mod trainer;
pub mod validate;

/// A check that was asked for and answered with no, as opposed to a call that was wrong.
#[derive(Debug)]
pub struct AnswerIsNo(pub String);

impl std::fmt::Display for AnswerIsNo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AnswerIsNo {}

/// The exit code that an error stands for: 1 the answer is no, 2 the call or its input was wrong, 3 the machine lacks
/// something.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    let lacks = |e: &(dyn std::error::Error + 'static)| {
        matches!(e.downcast_ref(), Some(landfall_model::Error::Surroundings(_)))
    };
    if error.chain().any(|e| e.is::<AnswerIsNo>()) {
        1
    } else if error.chain().any(lacks) {
        3
    } else {
        2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn exit_codes_survive_context() {
        let no = anyhow::Error::new(AnswerIsNo("differs".into())).context("checking");
        let lacks = anyhow::Error::new(landfall_model::Error::Surroundings("no runtime".into())).context("loading");
        let wrong = std::fs::read("no/such/file").context("reading").unwrap_err();
        assert_eq!([exit_code(&no), exit_code(&lacks), exit_code(&wrong)], [1, 3, 2]);
    }
}
