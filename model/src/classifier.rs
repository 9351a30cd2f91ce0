//! A bundle's two networks in ONNX Runtime: pictures to embeddings to logits.
//!
//! Squares of pictures go through the encoder one at a time. An int8 encoder scales its activations by what is in the
//! batch, so the embedding of a square would depend on its neighbours; alone, it depends on nothing else.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use image::RgbImage;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session};
use ort::value::TensorRef;

use crate::bundle::{Bundle, EncoderFile, EncoderPaths};
use crate::error::{Error, Result};
use crate::preprocess::{self, Preprocess};
use crate::runtime;

/// The network from pixels to embeddings, in one or more sessions that work side by side.
///
/// Each session computes on one thread: results then never depend on how work was divided.
pub struct Encoder {
    sessions: Vec<Mutex<Session>>,
    file: EncoderFile,
    preprocess: Preprocess,
}

impl Encoder {
    /// Loads the encoder whose files lie at `paths`, in `workers` sessions.
    ///
    /// # Errors
    /// When ONNX Runtime or a file cannot be loaded, or the network lacks the input or output it should have.
    pub fn load(paths: &EncoderPaths, file: EncoderFile, preprocess: Preprocess, workers: usize) -> Result<Self> {
        let (path, network) = (&paths.network, paths.read(file.activations)?);
        let load = |_| session(path, &network);
        let sessions: Vec<_> = (0..workers.max(1)).map(load).collect::<Result<_>>()?;
        let has = |outlets: &[ort::value::Outlet], name: &str| outlets.iter().any(|outlet| outlet.name() == name);
        if !has(sessions[0].inputs(), &file.input) || !has(sessions[0].outputs(), &file.output) {
            let why = format!("has no input `{}` or no output `{}`", file.input, file.output);
            return Err(Error::file(path, why, "bundle.json must name the network's own input and output"));
        }
        Ok(Self { sessions: sessions.into_iter().map(Mutex::new).collect(), file, preprocess })
    }

    /// Number of sessions that can work at once.
    pub fn workers(&self) -> usize {
        self.sessions.len()
    }

    /// The embedding of one picture, computed by session `worker`: `dim` numbers of length 1 for each square that is
    /// looked at, the central one first.
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

    /// What the network gives for one square that is preprocessed already, `3 × size × size` numbers: `dim` numbers.
    ///
    /// # Errors
    /// When the network fails.
    pub fn embed_tensor(&self, worker: usize, tensor: &[f32]) -> Result<Vec<f32>> {
        let side = self.preprocess.size as usize;
        let mut session = self.sessions[worker % self.sessions.len()].lock().unwrap_or_else(|e| e.into_inner());
        run(&mut session, [1, 3, side, side], tensor, &self.file.input, &self.file.output)
    }

    /// The embeddings of some pictures, in their order, on all sessions at once.
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
            .map(|slot| slot.into_inner().unwrap_or_else(|e| e.into_inner()).expect("every picture had its turn"))
            .collect()
    }
}

/// The network from embeddings to logits over cells, in one session: on its own for features that are computed
/// already, and for checking an exported head.
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

    /// Loads the head at `file`, which gives `cells` logits as its `output`.
    ///
    /// # Errors
    /// When ONNX Runtime or the file cannot be loaded, or the file does not have one input and this output.
    pub fn load(file: &Path, output: &str, cells: usize) -> Result<Self> {
        let mend = "export it again";
        let network = std::fs::read(file).map_err(|e| Error::file(file, format!("cannot be read: {e}"), mend))?;
        let session = session(file, &network)?;
        let wrong = || {
            let why = format!("does not have one input and an output `{output}`");
            Error::file(file, why, "export it again")
        };
        let [input] = session.inputs() else { return Err(wrong()) };
        let input = input.name().to_owned();
        if !session.outputs().iter().any(|outlet| outlet.name() == output) {
            return Err(wrong());
        }
        Ok(Self { session: Mutex::new(session), file: file.to_owned(), input, output: output.to_owned(), cells })
    }

    /// Logits over cells for one embedding. One at a time, so that the numbers never depend on their neighbours.
    ///
    /// # Errors
    /// When the network fails, as for an embedding of another length, or does not give one logit a cell.
    pub fn logits(&self, embedding: &[f32]) -> Result<Vec<f32>> {
        let mut session = self.session.lock().unwrap_or_else(|e| e.into_inner());
        let logits = run(&mut session, [1, embedding.len()], embedding, &self.input, &self.output)?;
        if logits.len() != self.cells {
            let why = format!("gives {} logits for {} cells", logits.len(), self.cells);
            return Err(Error::file(&self.file, why, "export it again"));
        }
        Ok(logits)
    }
}

/// A bundle ready to classify.
pub struct Classifier {
    /// The bundle's description and cells.
    pub bundle: Bundle,
    encoder: Encoder,
    head: Head,
}

impl Classifier {
    /// Loads a bundle's networks, with as many encoder sessions as there are processor cores, four at most.
    ///
    /// # Errors
    /// When a file is missing or damaged or ONNX Runtime cannot be loaded.
    pub fn load(bundle: Bundle) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_workers(bundle, cores.min(4))
    }

    /// As [`Classifier::load`], with this many encoder sessions.
    ///
    /// # Errors
    /// As [`Classifier::load`].
    pub fn with_workers(bundle: Bundle, workers: usize) -> Result<Self> {
        let (file, preprocess) = (bundle.manifest.encoder.clone(), bundle.manifest.preprocess.clone());
        let encoder = Encoder::load(&bundle.encoder_paths()?, file, preprocess, workers)?;
        let head = Head::of(&bundle)?;
        Ok(Self { bundle, encoder, head })
    }

    /// The encoder alone.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Logits over the bundle's cells for each picture, in order: one row a picture.
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

/// Makes ONNX Runtime add products of bytes in 32 bits on x86 processors that otherwise add two of them in 16.
/// (`kOrtSessionOptionsAvx2PrecisionMode` in onnxruntime_session_options_config_keys.h.)
const EXACT_PRODUCTS: &str = "session.x64quantprecision";

/// Whether this processor does that, which cuts large sums off: an int8 vision transformer answers something else there.
/// Those with VNNI do not, and with AMX the option would take three quarters of their speed.
fn cuts_sums_off() -> bool {
    #[cfg(target_arch = "x86_64")]
    return !is_x86_feature_detected!("avx512vnni") && !is_x86_feature_detected!("avxvnni");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// A session of the network that was read from `path`.
fn session(path: &Path, network: &[u8]) -> Result<Session> {
    let environment = runtime::environment()?;
    let failed =
        |e: &dyn std::fmt::Display| Error::file(path, format!("ONNX Runtime cannot load it: {e}"), "fetch it again");
    let mut builder = Session::builder(environment).map_err(|e| failed(&e))?;
    builder = builder.with_intra_threads(1).map_err(|e| failed(&e))?;
    if cuts_sums_off() {
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
    let failed = |e: ort::Error| Error::Surroundings(format!("ONNX Runtime failed to compute `{output}`: {e}"));
    let tensor = TensorRef::from_array_view((shape, data)).map_err(failed)?;
    // Only this output: an encoder may have others that nobody asked for.
    let wanted = OutputSelector::no_default().with(output);
    let options = RunOptions::new().map_err(failed)?.with_outputs(wanted);
    let outputs = session.run_with_options(ort::inputs![input => tensor], &options).map_err(failed)?;
    let (_, values) = outputs[output].try_extract_tensor::<f32>().map_err(failed)?;
    Ok(values.to_vec())
}
