//! A bundle's two networks: images to embeddings to logits.
//!
//! The encoder runs one square at a time. An int8 encoder scales its activations by the maximum over the batch, so in a
//! larger batch the embedding of a square would depend on its neighbours.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use image::RgbImage;

use crate::bundle::{Bundle, EncoderFile, EncoderPaths, read_network};
use crate::engine::{Engine, Session, Weights};
use crate::error::{Error, Result};
use crate::preprocess::{self, Preprocess};

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
    /// When no engine or a file cannot be loaded, or the network lacks the stated input or output.
    pub fn load(paths: &EncoderPaths, file: EncoderFile, preprocess: Preprocess, workers: usize) -> Result<Self> {
        let engine = Engine::preferred()?;
        let network = paths.read(file.activations)?;
        Self::of_file_in(engine, &paths.network, network, file, preprocess, workers)
    }

    /// `network`: the bytes that were read from `path`.
    fn of_file_in(
        engine: Engine,
        path: &Path,
        network: Vec<u8>,
        file: EncoderFile,
        preprocess: Preprocess,
        workers: usize,
    ) -> Result<Self> {
        let network = file.activations.for_output(network, &file.output);
        let network = network.map_err(|reason| Error::Network { file: path.to_owned(), source: reason.into() })?;
        Self::of_network_in(engine, path, &network, file, preprocess, workers)
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
        Self::of_network_in(Engine::preferred()?, path, network, file, preprocess, workers)
    }

    fn of_network_in(
        engine: Engine,
        path: &Path,
        network: &[u8],
        file: EncoderFile,
        preprocess: Preprocess,
        workers: usize,
    ) -> Result<Self> {
        let sessions = Session::load(engine, path, network, Weights::Packed, workers.max(1))?;
        if !sessions[0].inputs().contains(&&*file.input) || !sessions[0].outputs().contains(&&*file.output) {
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
        let squares = (0..self.preprocess.squares()).map(|index| self.embed_square(worker, picture, index));
        Ok(squares.collect::<Result<Vec<_>>>()?.concat())
    }

    fn embed_square(&self, worker: usize, picture: &RgbImage, index: usize) -> Result<Vec<f32>> {
        let mut part = self.embed_tensor(worker, &self.preprocess.tensor(picture, index))?;
        preprocess::normalise(&mut part);
        Ok(part)
    }

    /// The output of the network, `dim` numbers, for one preprocessed square of shape `[3, size, size]`.
    ///
    /// # Errors
    /// When the network fails.
    pub fn embed_tensor(&self, worker: usize, tensor: &[f32]) -> Result<Vec<f32>> {
        let side = self.preprocess.size as usize;
        let mut session = self.sessions[worker % self.sessions.len()].lock().unwrap_or_else(|e| e.into_inner());
        session.run(&[1, 3, side, side], tensor, &self.file.input, &self.file.output)
    }

    /// The values of several outputs of the network for one preprocessed square of shape `[3, size, size]`.
    ///
    /// # Errors
    /// When the network fails or lacks one of the outputs.
    pub fn outputs(&self, worker: usize, tensor: &[f32], names: &[&str]) -> Result<Vec<Vec<f32>>> {
        let side = self.preprocess.size as usize;
        let mut session = self.sessions[worker % self.sessions.len()].lock().unwrap_or_else(|e| e.into_inner());
        session.run_all(&[1, 3, side, side], tensor, &self.file.input, names)
    }

    /// The embeddings of several images, in their order, using all sessions.
    ///
    /// # Errors
    /// When the network fails.
    pub fn embed_all(&self, pictures: &[RgbImage]) -> Result<Vec<Vec<f32>>> {
        let squares = self.preprocess.squares();
        // Divided by squares, so that a single image uses several sessions too.
        let jobs = pictures.len() * squares;
        let next = std::sync::atomic::AtomicUsize::new(0);
        let slots: Vec<Mutex<Option<Result<Vec<f32>>>>> = (0..jobs).map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            for worker in 0..self.workers().min(jobs) {
                let (next, slots) = (&next, &slots);
                scope.spawn(move || {
                    while let Some(i) =
                        Some(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)).filter(|i| *i < jobs)
                    {
                        let part = self.embed_square(worker, &pictures[i / squares], i % squares);
                        *slots[i].lock().unwrap_or_else(|e| e.into_inner()) = Some(part);
                    }
                });
            }
        });
        let parts = slots.into_iter().map(|slot| {
            slot.into_inner().unwrap_or_else(|e| e.into_inner()).expect("every index was taken by a worker")
        });
        let parts = parts.collect::<Result<Vec<_>>>()?;
        Ok(parts.chunks(squares).map(<[Vec<f32>]>::concat).collect())
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
        let (file, network) = bundle.head_network()?;
        Self::of_bundle(Engine::preferred()?, bundle, &file, &network)
    }

    /// `network`: the bytes that were read from `file`, the head of the bundle.
    fn of_bundle(engine: Engine, bundle: &Bundle, file: &Path, network: &[u8]) -> Result<Self> {
        Self::of_network_in(engine, file, network, &bundle.manifest.head.outputs[0], bundle.cells.cells.len())
    }

    /// Loads the head at `file`, whose output `output` has `cells` logits.
    ///
    /// # Errors
    /// When no engine or the file cannot be loaded, or the file does not have one input and this output.
    pub fn load(file: &Path, output: &str, cells: usize) -> Result<Self> {
        Self::of_network_in(Engine::preferred()?, file, &read_network(file)?, output, cells)
    }

    fn of_network_in(engine: Engine, file: &Path, network: &[u8], output: &str, cells: usize) -> Result<Self> {
        let session = Session::load(engine, file, network, Weights::AsStored, 1)?.remove(0);
        let wrong = || {
            let reason = format!("not exactly one input, or no output `{output}`");
            Error::Network { file: file.to_owned(), source: reason.into() }
        };
        let [input] = session.inputs()[..] else { return Err(wrong()) };
        let input = input.to_owned();
        if !session.outputs().contains(&output) {
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
        let logits = session.run(&[1, embedding.len()], embedding, &self.input, &self.output)?;
        if logits.len() != self.cells {
            let reason = format!("{} logits for {} cells", logits.len(), self.cells);
            return Err(Error::Network { file: self.file.clone(), source: reason.into() });
        }
        Ok(logits)
    }
}

/// The result of a thread, or its panic.
fn join<T>(thread: std::thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// A bundle with both networks loaded.
pub struct Classifier {
    /// The bundle's manifest and cells.
    pub bundle: Bundle,
    encoder: Encoder,
    head: Head,
    engine: Engine,
}

impl Classifier {
    /// Loads a bundle's networks, with one encoder session per processor core, up to four.
    ///
    /// # Errors
    /// When a file is missing or damaged, or there is no engine that can run the networks.
    pub fn load(bundle: Bundle) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_workers(bundle, cores.min(4))
    }

    /// As [`Classifier::load`], with `workers` encoder sessions.
    ///
    /// # Errors
    /// As [`Classifier::load`].
    pub fn with_workers(bundle: Bundle, workers: usize) -> Result<Self> {
        Self::load_in(bundle, workers, Engine::preferred)
    }

    /// As [`Classifier::with_workers`], with both networks in this engine.
    ///
    /// # Errors
    /// As [`Classifier::load`].
    pub fn with_engine(bundle: Bundle, workers: usize, engine: Engine) -> Result<Self> {
        Self::load_in(bundle, workers, || Ok(engine))
    }

    fn load_in(bundle: Bundle, workers: usize, engine: impl FnOnce() -> Result<Engine> + Send) -> Result<Self> {
        // Each of these takes tens of milliseconds, together most of the time to the first answer.
        let (engine, encoder, head) = std::thread::scope(|scope| {
            let engine = scope.spawn(engine);
            let head = scope.spawn(|| bundle.head_network());
            let encoder = bundle.encoder_network();
            (join(engine), encoder, join(head))
        });
        let (engine, (encoder_path, encoder), (head_path, head)) = (engine?, encoder?, head?);
        let (file, preprocess) = (bundle.manifest.encoder.clone(), bundle.manifest.preprocess.clone());
        let (encoder, head) = std::thread::scope(|scope| {
            let head = scope.spawn(|| Head::of_bundle(engine, &bundle, &head_path, &head));
            (Encoder::of_file_in(engine, &encoder_path, encoder, file, preprocess, workers), join(head))
        });
        Ok(Self { encoder: encoder?, head: head?, bundle, engine })
    }

    /// The engine that runs the networks.
    pub fn engine(&self) -> Engine {
        self.engine
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
