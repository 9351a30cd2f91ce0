//! A bundle's two networks in ONNX Runtime: images to embeddings to logits.
//!
//! The encoder runs one square at a time. An int8 encoder scales its activations by the maximum over the batch, so in a
//! larger batch the embedding of a square would depend on its neighbours.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use image::RgbImage;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session};
use ort::value::TensorRef;

use crate::bundle::{Bundle, EncoderFile, EncoderPaths, read_network};
use crate::error::{Error, Result};
use crate::preprocess::{self, Preprocess};
use crate::runtime;

/// The network from pixels to embeddings, in one or more sessions that run in parallel.
///
/// Each session uses one thread, so that results do not depend on how work was divided.
pub struct Encoder {
    sessions: Vec<Mutex<Session>>,
    file: EncoderFile,
    preprocess: Preprocess,
}

impl Encoder {
    /// Loads the encoder at `paths` into `workers` sessions.
    ///
    /// # Errors
    /// When ONNX Runtime or a file cannot be loaded, or the network lacks the stated input or output.
    pub fn load(paths: &EncoderPaths, file: EncoderFile, preprocess: Preprocess, workers: usize) -> Result<Self> {
        let network = file.activations.for_output(paths.read(file.activations)?, &file.output);
        let network =
            network.map_err(|reason| Error::Network { file: paths.network.clone(), source: reason.into() })?;
        Self::of_network(&paths.network, &network, file, preprocess, workers)
    }

    /// As [`Encoder::load`], for a network that was read from `path` and is run as it is.
    ///
    /// # Errors
    /// As [`Encoder::load`].
    pub fn of_network(
        path: &Path,
        network: &[u8],
        file: EncoderFile,
        preprocess: Preprocess,
        workers: usize,
    ) -> Result<Self> {
        let load = |_| session(path, network);
        let sessions: Vec<_> = (0..workers.max(1)).map(load).collect::<Result<_>>()?;
        let has = |outlets: &[ort::value::Outlet], name: &str| outlets.iter().any(|outlet| outlet.name() == name);
        if !has(sessions[0].inputs(), &file.input) || !has(sessions[0].outputs(), &file.output) {
            let why = format!("no input `{}` or no output `{}`, which bundle.json names", file.input, file.output);
            return Err(Error::Network { file: path.to_owned(), source: why.into() });
        }
        Ok(Self { sessions: sessions.into_iter().map(Mutex::new).collect(), file, preprocess })
    }

    /// Number of sessions.
    pub fn workers(&self) -> usize {
        self.sessions.len()
    }

    /// The embedding of one image, computed by session `worker`: for each square a unit vector of `dim` numbers, the central
    /// square first.
    ///
    /// # Errors
    /// When the network fails.
    pub fn embed(&self, worker: usize, picture: &RgbImage) -> Result<Vec<f32>> {
        let mut embedding = Vec::with_capacity(self.file.dim * self.preprocess.squares());
        for tensor in self.preprocess.tensors(picture) {
            let mut part = self.embed_tensor(worker, &tensor)?;
            preprocess::normalise(&mut part);
            embedding.extend(part);
        }
        Ok(embedding)
    }

    /// The output of the network, `dim` numbers, for one preprocessed square of shape `[3, size, size]`.
    ///
    /// # Errors
    /// When the network fails.
    pub fn embed_tensor(&self, worker: usize, tensor: &[f32]) -> Result<Vec<f32>> {
        let side = self.preprocess.size as usize;
        let mut session = self.sessions[worker % self.sessions.len()].lock().unwrap_or_else(|e| e.into_inner());
        run(&mut session, [1, 3, side, side], tensor, &self.file.input, &self.file.output)
    }

    /// The values of several outputs of the network for one preprocessed square of shape `[3, size, size]`.
    ///
    /// # Errors
    /// When the network fails or lacks one of the outputs.
    pub fn outputs(&self, worker: usize, tensor: &[f32], names: &[&str]) -> Result<Vec<Vec<f32>>> {
        let side = self.preprocess.size as usize;
        let mut session = self.sessions[worker % self.sessions.len()].lock().unwrap_or_else(|e| e.into_inner());
        run_all(&mut session, [1, 3, side, side], tensor, &self.file.input, names)
    }

    /// The embeddings of several images, in their order, using all sessions.
    ///
    /// # Errors
    /// When the network fails.
    pub fn embed_all(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let slots: Vec<Mutex<Option<Result<Vec<f32>>>>> = pictures.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for worker in 0..self.workers().min(pictures.len()) {
                let (next, slots) = (&next, &slots);
                scope.spawn(move || {
                    while let Some(i) =
                        Some(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).filter(|i| *i < pictures.len())
                    {
                        let embedding = self.embed(worker, &pictures[i]);
                        *slots[i].lock().unwrap_or_else(|e| e.into_inner()) = Some(embedding);
                    }
                });
            }
        });
        slots
            .into_iter()
            .map(|slot| {
                slot.into_inner().unwrap_or_else(|e| e.into_inner()).expect("every index was taken by a worker")
            })
            .collect()
    }
}

/// The network from embeddings to logits over cells, in one session. Separate from the classifier for cached embeddings and
/// for checking an exported head.
pub struct Head {
    session: Mutex<Session>,
    file: PathBuf,
    input: String,
    output: String,
    cells: usize,
}

impl Head {
    /// The head of a bundle.
    ///
    /// # Errors
    /// When the file is missing or damaged, and as [`Head::load`].
    pub fn of(bundle: &Bundle) -> Result<Self> {
        Self::load(&bundle.head_path()?, &bundle.manifest.head.outputs[0], bundle.cells.cells.len())
    }

    /// Loads the head at `file`, whose output `output` has `cells` logits.
    ///
    /// # Errors
    /// When ONNX Runtime or the file cannot be loaded, or the file does not have one input and this output.
    pub fn load(file: &Path, output: &str, cells: usize) -> Result<Self> {
        let network = read_network(file)?;
        let session = session(file, &network)?;
        let wrong = || {
            let reason = format!("not exactly one input, or no output `{output}`");
            Error::Network { file: file.to_owned(), source: reason.into() }
        };
        let [input] = session.inputs() else { return Err(wrong()) };
        let input = input.name().to_owned();
        if !session.outputs().iter().any(|outlet| outlet.name() == output) {
            return Err(wrong());
        }
        Ok(Self { session: Mutex::new(session), file: file.to_owned(), input, output: output.to_owned(), cells })
    }

    /// Logits over cells for one embedding. One at a time, so that the numbers do not depend on a batch.
    ///
    /// # Errors
    /// When the network fails, as for an embedding of another length, or does not give one logit per cell.
    pub fn logits(&self, embedding: &[f32]) -> Result<Vec<f32>> {
        let mut session = self.session.lock().unwrap_or_else(|e| e.into_inner());
        let logits = run(&mut session, [1, embedding.len()], embedding, &self.input, &self.output)?;
        if logits.len() != self.cells {
            let reason = format!("{} logits for {} cells", logits.len(), self.cells);
            return Err(Error::Network { file: self.file.clone(), source: reason.into() });
        }
        Ok(logits)
    }
}

/// A bundle with both networks loaded.
pub struct Classifier {
    /// The bundle's manifest and cells.
    pub bundle: Bundle,
    encoder: Encoder,
    head: Head,
}

impl Classifier {
    /// Loads a bundle's networks, with one encoder session per processor core, up to four.
    ///
    /// # Errors
    /// When a file is missing or damaged or ONNX Runtime cannot be loaded.
    pub fn load(bundle: Bundle) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_workers(bundle, cores.min(4))
    }

    /// As [`Classifier::load`], with `workers` encoder sessions.
    ///
    /// # Errors
    /// As [`Classifier::load`].
    pub fn with_workers(bundle: Bundle, workers: usize) -> Result<Self> {
        let (file, preprocess) = (bundle.manifest.encoder.clone(), bundle.manifest.preprocess.clone());
        let encoder = Encoder::load(&bundle.encoder_paths()?, file, preprocess, workers)?;
        let head = Head::of(&bundle)?;
        Ok(Self { bundle, encoder, head })
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Logits over the bundle's cells: one row per image, in order.
    ///
    /// # Errors
    /// When a network fails.
    pub fn logits(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        self.encoder.embed_all(pictures)?.iter().map(|embedding| self.head(embedding)).collect()
    }

    /// Logits over the bundle's cells for one embedding.
    ///
    /// # Errors
    /// As [`Head::logits`].
    pub fn head(&self, embedding: &[f32]) -> Result<Vec<f32>> {
        self.head.logits(embedding)
    }
}

/// Makes ONNX Runtime add products of bytes in 32 bits on x86 processors on which it otherwise adds pairs in 16 bits.
/// (`kOrtSessionOptionsAvx2PrecisionMode` in onnxruntime_session_options_config_keys.h.)
const EXACT_PRODUCTS: &str = "session.x64quantprecision";

/// Whether sums of pairs saturate at 16 bits on this processor, which changes the output of an int8 vision transformer. With
/// VNNI they do not, and with AMX the option would cost three quarters of the speed.
fn saturates() -> bool {
    #[cfg(target_arch = "x86_64")]
    return !is_x86_feature_detected!("avx512vnni") && !is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A session of the network that was read from `path`.
fn session(path: &Path, network: &[u8]) -> Result<Session> {
    let environment = runtime::environment()?;
    let failed =
        |error: &dyn std::fmt::Display| Error::Network { file: path.to_owned(), source: error.to_string().into() };
    let mut builder = Session::builder(environment).map_err(|e| failed(&e))?;
    builder = builder.with_intra_threads(1).map_err(|e| failed(&e))?;
    if saturates() {
        builder = builder.with_config_entry(EXACT_PRODUCTS, "1").map_err(|e| failed(&e))?;
    }
    builder
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(|e| failed(&e))?
        .commit_from_memory(network)
        .map_err(|e| failed(&e))
}

fn run<const RANK: usize>(
    session: &mut Session,
    shape: [usize; RANK],
    data: &[f32],
    input: &str,
    output: &str,
) -> Result<Vec<f32>> {
    Ok(run_all(session, shape, data, input, &[output])?.pop().unwrap_or_default())
}

fn run_all<const RANK: usize>(
    session: &mut Session,
    shape: [usize; RANK],
    data: &[f32],
    input: &str,
    names: &[&str],
) -> Result<Vec<Vec<f32>>> {
    let failed = |error: ort::Error| Error::Inference { output: names.join("`, `"), source: error.into() };
    let tensor = TensorRef::from_array_view((shape, data)).map_err(failed)?;
    // Only these outputs: an encoder may have more.
    let wanted = names.iter().fold(OutputSelector::no_default(), |wanted, name| wanted.with(*name));
    let options = RunOptions::new().map_err(failed)?.with_outputs(wanted);
    let outputs = session.run_with_options(ort::inputs![input => tensor], &options).map_err(failed)?;
    let values = |name: &&str| Ok(outputs[*name].try_extract_tensor::<f32>().map_err(failed)?.1.to_vec());
    names.iter().map(values).collect()
}
