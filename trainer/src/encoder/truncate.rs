//! `truncate-encoder`: the first blocks of an encoder as a new encoder, whose tokens `distill-pooling` learns to pool.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::fs::{write_atomic, write_json};
use landfall_model::bundle::{Activations, EncoderFile};
use landfall_model::classifier::Encoder;

use crate::features::encoder_spec::EncoderSpec;
use crate::onnx;

/// Truncate an encoder after one of its tensors
///
/// Writes `encoder.onnx` and `encoder.json`, for use with `embed`. The features are the values of that tensor, as input
/// of `distill-pooling`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train truncate-encoder --encoder model/bundles/desktop/bundle.json --after /vision_model/encoder/layers.5/Add_1_output_0 --out runs/cut-6"
)]
pub(crate) struct Args {
    /// Description of the encoder
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    encoder: PathBuf,
    /// Name of the tensor that becomes the output
    #[arg(long, value_name = "TENSOR", help_heading = "Input")]
    after: String,
    /// Folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Print the result as JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When the encoder cannot be read or has no such tensor.
pub(crate) fn run(args: &Args) -> Result<()> {
    let spec = EncoderSpec::read(&args.encoder)?;
    let source = spec.encoder.locate(args.encoder.parent().unwrap_or(Path::new(".")))?;
    let network = source.read(Activations::AsWritten)?;
    let file_name = || source.network.display().to_string();
    let network = onnx::truncate(&network, &args.after, onnx::TOKENS).with_context(file_name)?;
    let encoder = EncoderFile { output: onnx::TOKENS.into(), ..spec.encoder };
    let (spec, _) = write(&args.out, &network, EncoderSpec { encoder, ..spec })?;
    let (out, dim) = (args.out.display().to_string(), spec.encoder.dim);
    eprintln!("wrote {out}, {} bytes, {dim} values per square", network.len());
    if args.json {
        println!("{}", serde_json::json!({ "out": out, "bytes": network.len(), "dim": dim }));
    }
    Ok(())
}

/// Writes an encoder with its description, and loads it to determine the size of its output.
pub(crate) fn write(out: &Path, network: &[u8], spec: EncoderSpec) -> Result<(EncoderSpec, Encoder)> {
    let file = out.join("encoder.onnx");
    write_atomic(&file, network)?;
    let mut spec = spec.of_file(&file)?;
    let loaded = Encoder::load(&file.as_path().into(), spec.encoder.clone(), spec.preprocess.clone(), 1)?;
    let side = spec.preprocess.size as usize;
    spec.encoder.dim = loaded.embed_tensor(0, &vec![0.0; 3 * side * side])?.len();
    write_json(&out.join("encoder.json"), &spec)?;
    Ok((spec, loaded))
}
