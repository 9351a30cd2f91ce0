//! The class `Geolocator`.

use std::path::PathBuf;

use landfall_model::{Bundle, Classifier, Error, Prediction, Prior, Result};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::{error, image, installation, prediction};

/// Predicts where photographs were taken, with the bundle of this name or in the directory at this path.
///
/// Loading takes a moment, so load once and share: methods may be called from several threads at a time. They release
/// the GIL while they compute.
///
/// An image is a path, the bytes of an image file, or an array of numpy.uint8 of shape (height, width, 3) for red, green
/// and blue. One that cannot be read raises ValueError or OSError.
#[pyclass(frozen, module = "landfall")]
pub(crate) struct Geolocator {
    classifier: Classifier,
}

/// A bundle as `Geolocator` takes it.
enum BundleArg {
    /// A name, or a path with a separator.
    Name(String),
    /// An `os.PathLike` is always a path.
    Dir(PathBuf),
}

impl<'py> FromPyObject<'_, 'py> for BundleArg {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        match object.cast::<PyString>() {
            Ok(name) => Ok(Self::Name(name.extract()?)),
            Err(_) => Ok(Self::Dir(object.extract()?)),
        }
    }
}

#[pymethods]
impl Geolocator {
    #[new]
    #[pyo3(signature = (bundle = BundleArg::Name("pocket".to_owned())), text_signature = "(bundle='pocket')")]
    fn new(py: Python<'_>, bundle: BundleArg) -> PyResult<Self> {
        installation::set_up(py)?;
        let classifier = py.detach(|| {
            Classifier::load(match bundle {
                BundleArg::Name(name) => Bundle::find(&name)?,
                BundleArg::Dir(dir) => Bundle::open(&dir)?,
            })
        });
        Ok(Self { classifier: classifier.map_err(error::of_model)? })
    }

    /// Name and version of the bundle, such as `pocket@2026.12.1`.
    #[getter]
    fn bundle(&self) -> String {
        self.classifier.bundle.manifest.id()
    }

    /// Name and version of the engine that runs the networks, such as `ONNX Runtime 1.32.0` or `rten 0.27`.
    #[getter]
    fn engine(&self) -> String {
        self.classifier.engine().to_string()
    }

    /// Predicts the place that an image shows, or that all images of a list show: views in different directions or at
    /// different times. More views of the place make the prediction more accurate.
    fn locate<'py>(&self, py: Python<'py>, images: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let views = image::one_or_several(images)?;
        if views.is_empty() {
            return Err(error::of_model(Error::NoImages));
        }
        let views = image::decode(py, views)?;
        let located = py.detach(|| self.predict(&self.classifier.logits(&views)?)).map_err(error::of_model)?;
        prediction::to_python(py, &located)
    }

    /// Predicts the place of each image, in their order. Several images are computed in parallel.
    fn locate_each<'py>(&self, py: Python<'py>, images: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut images = image::several(images)?;
        let mut predictions = Vec::new();
        loop {
            // As many at a time as are computed in parallel.
            let batch = images.by_ref().take(self.classifier.encoder().workers()).collect::<PyResult<Vec<_>>>()?;
            if batch.is_empty() {
                return Ok(predictions);
            }
            let batch = image::decode(py, batch)?;
            let located = py.detach(|| {
                let logits = self.classifier.logits(&batch)?;
                logits.chunks(1).map(|row| self.predict(row)).collect::<Result<Vec<_>>>()
            });
            for located in located.map_err(error::of_model)? {
                predictions.push(prediction::to_python(py, &located)?);
            }
            py.check_signals()?;
        }
    }

    fn __repr__(&self) -> String {
        format!("<landfall.Geolocator {}, {}>", self.bundle(), self.engine())
    }
}

impl Geolocator {
    /// The prediction given the logits of all views of one place, one row per view.
    fn predict(&self, logits: &[Vec<f32>]) -> Result<Prediction> {
        let posterior = self.classifier.bundle.fuse(logits, Prior::Photo);
        let posterior = posterior.ok_or_else(|| Error::NonFinite { bundle: self.bundle() })?;
        Ok(Prediction::for_photo(&posterior))
    }
}
