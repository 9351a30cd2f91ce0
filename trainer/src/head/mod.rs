//! The head, a small network from embeddings to logits over cells, and its training.

pub(crate) mod checkpoint;
pub(crate) mod cross_validate;
pub(crate) mod dataloader;
pub(crate) mod fit;
pub(crate) mod held_out;
pub(crate) mod loss;
pub(crate) mod lr_find;
pub(crate) mod model;
pub(crate) mod onnx_writer;
pub(crate) mod overfit;
pub(crate) mod recipe;
pub(crate) mod schedule;
pub(crate) mod train;
pub(crate) mod trainable;
pub(crate) mod trainer;
pub(crate) mod training_data;
