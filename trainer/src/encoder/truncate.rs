//! `cut`: the first blocks of an encoder as an encoder of their own, whose tokens `pool` learns to gather.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use landfall_common::fs::{write_atomic, write_json};
use landfall_model::bundle::{Activations, EncoderFile};
use landfall_model::classifier::Encoder;

use crate::features::encoder_spec::EncoderSpec;
use crate::onnx;

/// Cuts an encoder off after one of its tensors.
///
/// Writes `encoder.onnx` and `encoder.json`, which `embed` takes: its features are that tensor's numbers, for `pool`.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  landfall-train cut --encoder model/bundles/desktop/bundle.json --after /vision_model/encoder/layers.5/Add_1_output_0 --out runs/cut-6"
)]
pub(crate) struct Args {
    /// Description of the encoder
    #[arg(long)]
    encoder: PathBuf,
    /// Name of the tensor that becomes its output
    #[arg(long)]
    after: String,
    /// Folder to write
    #[arg(long)]
    out: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When the encoder cannot be read or has no such tensor.
pub(crate) fn run(args: &Args) -> Result<()> {
    let spec = EncoderSpec::read(&args.encoder)?;
    let source = spec.encoder.locate(args.encoder.parent().unwrap_or(Path::new(".")))?;
    let network = source.read(Activations::AsWritten)?;
    let named = || source.network.display().to_string();
    let network = onnx::truncate(&network, &args.after, onnx::TOKENS).with_context(named)?;
    let encoder = EncoderFile { output: onnx::TOKENS.into(), ..spec.encoder };
    let (spec, _) = write(&args.out, &network, EncoderSpec { encoder, ..spec })?;
    eprintln!("wrote {}, {} bytes, {} numbers per square", args.out.display(), network.len(), spec.encoder.dim);
    Ok(())
}

/// Writes an encoder of its own, with its description, and loads it to see how many numbers it gives.
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
