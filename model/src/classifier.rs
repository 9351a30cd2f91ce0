//! A bundle's two networks in ONNX Runtime: pictures to embeddings to logits.
//!
//! Pictures go through the encoder one at a time. An int8 encoder scales its activations by what is in the batch, so
//! the embedding of a picture would depend on its neighbours; alone, it depends on nothing else.

use std::path::Path;
use std::sync::Mutex;

use image::RgbImage;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{OutputSelector, RunOptions, Session};
use ort::value::TensorRef;

use crate::bundle::{Bundle, EncoderFile};
use crate::error::{Error, Result};
use crate::preprocess::Preprocess;
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
    /// Loads the encoder at `path`, in `workers` sessions.
    ///
    /// # Errors
    /// When ONNX Runtime or the file cannot be loaded, or the file lacks the input or output it should have.
    pub fn load(path: &Path, file: EncoderFile, preprocess: Preprocess, workers: usize) -> Result<Self> {
        let sessions: Vec<_> = (0..workers.max(1)).map(|_| session(path)).collect::<Result<_>>()?;
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

    /// The embedding of one picture, `dim` numbers, computed by session `worker`.
    ///
    /// # Errors
    /// When the network fails.
    pub fn embed(&self, worker: usize, picture: &RgbImage) -> Result<Vec<f32>> {
        self.embed_tensor(worker, &self.preprocess.tensor(picture))
    }

    /// The embedding of one picture that is preprocessed already: `3 × size × size` numbers.
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

/// A bundle ready to classify.
pub struct Classifier {
    /// The bundle's description and cells.
    pub bundle: Bundle,
    encoder: Encoder,
    head: Mutex<Session>,
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
        let encoder = Encoder::load(&bundle.encoder_path()?, file, preprocess, workers)?;
        let path = bundle.head_path()?;
        let head = session(&path)?;
        let output = &bundle.manifest.head.outputs[0];
        if head.inputs().len() != 1 || !head.outputs().iter().any(|outlet| outlet.name() == output) {
            let why = format!("does not have one input and an output `{output}`");
            return Err(Error::file(&path, why, "export it again"));
        }
        Ok(Self { bundle, encoder, head: Mutex::new(head) })
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
    /// When the network fails or does not give one logit a cell.
    pub fn head(&self, embedding: &[f32]) -> Result<Vec<f32>> {
        let mut head = self.head.lock().unwrap_or_else(|e| e.into_inner());
        let input = head.inputs()[0].name().to_owned();
        let logits = run(&mut head, [1, embedding.len()], embedding, &input, &self.bundle.manifest.head.outputs[0])?;
        if logits.len() != self.bundle.cells.cells.len() {
            let why = format!("gives {} logits for {} cells", logits.len(), self.bundle.cells.cells.len());
            return Err(Error::file(&self.bundle.dir.join(&self.bundle.manifest.head.file), why, "export it again"));
        }
        Ok(logits)
    }
}

fn session(path: &Path) -> Result<Session> {
    let environment = runtime::environment()?;
    let failed =
        |e: &dyn std::fmt::Display| Error::file(path, format!("ONNX Runtime cannot load it: {e}"), "fetch it again");
    let builder = Session::builder(environment).map_err(|e| failed(&e))?;
    let builder = builder.with_intra_threads(1).map_err(|e| failed(&e))?;
    builder
        .with_optimization_level(GraphOptimizationLevel::All)
        .map_err(|e| failed(&e))?
        .commit_from_file(path)
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
