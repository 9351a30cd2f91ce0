//! The engines that run networks: ONNX Runtime, or where it is not found, a library that is compiled into the program.

mod onnx_runtime;
#[cfg(feature = "rten")]
mod rten;
#[cfg(feature = "rten")]
mod steps;

use std::fmt;
use std::panic::resume_unwind;
use std::path::Path;

use crate::error::{Error, Result};
use crate::runtime;

/// What runs the networks of a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// ONNX Runtime, loaded at run time.
    OnnxRuntime,
    /// rten, which is part of the program. It is slower and lacks operators that the larger bundles use.
    #[cfg(feature = "rten")]
    Rten,
}

impl Engine {
    /// ONNX Runtime where it is found, or else the engine that is part of the program, if there is one.
    ///
    /// # Errors
    /// [`Error::RuntimeLoad`] when a library is found and cannot be loaded, since a user who installed it wants to know;
    /// [`Error::RuntimeNotFound`] when no library is found and the program has no engine of its own.
    pub fn preferred() -> Result<Self> {
        match runtime::load_library() {
            Ok(_) => Ok(Self::OnnxRuntime),
            #[cfg(feature = "rten")]
            Err(Error::RuntimeNotFound { .. }) => Ok(Self::Rten),
            Err(error) => Err(error),
        }
    }

    /// Whether it is part of the program.
    pub fn is_built_in(self) -> bool {
        self != Self::OnnxRuntime
    }

    /// Its name without a version.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnnxRuntime => "ONNX Runtime",
            #[cfg(feature = "rten")]
            Self::Rten => "rten",
        }
    }
}

/// Name and version, as in `ONNX Runtime 1.32.0` and `rten 0.27`.
impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = match self {
            Self::OnnxRuntime => runtime::load_library().map_or("", |runtime| &runtime.version),
            #[cfg(feature = "rten")]
            Self::Rten => rten::VERSION,
        };
        write!(f, "{} {version}", self.name())
    }
}

/// How a session keeps the weights of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    /// Rearranged for fast products of matrices.
    Packed,
    /// As in the file. Packing the weights of a network with one large product of a vector and a matrix takes as long as
    /// fifty runs, and gains a tenth of each.
    AsStored,
}

/// A network, loaded by one of the engines. It runs on one thread.
pub(crate) enum Session {
    OnnxRuntime(onnx_runtime::Session),
    #[cfg(feature = "rten")]
    Rten(rten::Session),
}

impl Session {
    /// Loads the network that was read from `path` into `count` sessions, which may run in parallel.
    ///
    /// # Errors
    /// When the engine cannot run the network.
    pub(crate) fn load(
        engine: Engine,
        path: &Path,
        network: &[u8],
        weights: Weights,
        count: usize,
    ) -> Result<Vec<Self>> {
        match engine {
            Engine::OnnxRuntime => std::thread::scope(|scope| {
                // At the same time, since each session optimises the network for itself.
                let load = || onnx_runtime::Session::load(path, network, weights).map(Self::OnnxRuntime);
                let others: Vec<_> = (1..count).map(|_| scope.spawn(load)).collect();
                let first = load();
                let others = others.into_iter().map(|thread| thread.join().unwrap_or_else(|why| resume_unwind(why)));
                std::iter::once(first).chain(others).collect()
            }),
            #[cfg(feature = "rten")]
            Engine::Rten => {
                let sessions = rten::Session::load(path, network, count)?;
                Ok(sessions.into_iter().map(Self::Rten).collect())
            }
        }
    }

    /// The engine that runs it.
    pub(crate) fn engine(&self) -> Engine {
        match self {
            Self::OnnxRuntime(_) => Engine::OnnxRuntime,
            #[cfg(feature = "rten")]
            Self::Rten(_) => Engine::Rten,
        }
    }

    /// The names of its inputs.
    pub(crate) fn inputs(&self) -> Vec<&str> {
        match self {
            Self::OnnxRuntime(session) => session.inputs(),
            #[cfg(feature = "rten")]
            Self::Rten(session) => session.inputs(),
        }
    }

    /// The names of its outputs.
    pub(crate) fn outputs(&self) -> Vec<&str> {
        match self {
            Self::OnnxRuntime(session) => session.outputs(),
            #[cfg(feature = "rten")]
            Self::Rten(session) => session.outputs(),
        }
    }

    /// The values of an output for this input.
    ///
    /// # Errors
    /// As [`Session::run_all`].
    pub(crate) fn run(&mut self, shape: &[usize], data: &[f32], input: &str, output: &str) -> Result<Vec<f32>> {
        Ok(self.run_all(shape, data, input, &[output])?.pop().unwrap_or_default())
    }

    /// The values of several outputs for this input.
    ///
    /// # Errors
    /// [`Error::Inference`] when the network fails or lacks one of the outputs.
    pub(crate) fn run_all(
        &mut self,
        shape: &[usize],
        data: &[f32],
        input: &str,
        names: &[&str],
    ) -> Result<Vec<Vec<f32>>> {
        let result = match self {
            Self::OnnxRuntime(session) => session.run(shape, data, input, names),
            #[cfg(feature = "rten")]
            Self::Rten(session) => session.run(shape, data, input, names),
        };
        result.map_err(|source| Error::Inference { engine: self.engine().name(), output: names.join("`, `"), source })
    }
}
