//! Images as Python gives them: paths, bytes of image files, and arrays of pixels.

use std::path::PathBuf;

use landfall_model::RgbImage;
use landfall_model::images::{self, Decoded};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::{PyTypeError, PyUserWarning, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::{error, installation};

/// An image that is not decoded yet.
pub(crate) struct Source {
    /// For messages: the path, or the position among the images of the call.
    name: String,
    content: Content,
}

enum Content {
    File(PathBuf),
    Bytes(Vec<u8>),
    Pixels(RgbImage),
}

/// The image that this object is, or those that it contains.
pub(crate) fn one_or_several(images: &Bound<'_, PyAny>) -> PyResult<Vec<Source>> {
    match Source::of(images, 0)? {
        Some(image) => Ok(vec![image]),
        None => several(images)?.collect(),
    }
}

/// The images that this object contains.
pub(crate) fn several<'py>(images: &Bound<'py, PyAny>) -> PyResult<impl Iterator<Item = PyResult<Source>> + use<'py>> {
    if Source::of(images, 0)?.is_some() {
        return Err(PyTypeError::new_err("this is one image: give a list of images"));
    }
    let images = images.try_iter().map_err(|_| not_an_image("the argument", images))?;
    Ok(images.enumerate().map(|(index, image)| {
        let image = image?;
        Source::of(&image, index)?.ok_or_else(|| not_an_image(&format!("image {index}"), &image))
    }))
}

fn not_an_image(name: &str, object: &Bound<'_, PyAny>) -> PyErr {
    let kind = object.get_type().name().map_or_else(|_| "of an unknown type".to_owned(), |name| name.to_string());
    PyTypeError::new_err(format!(
        "{name} is {kind}: give a path, the bytes of an image file, or an array of shape (height, width, 3)"
    ))
}

/// Decodes images without the GIL. Warns of those of which a part is missing.
pub(crate) fn decode(py: Python<'_>, images: Vec<Source>) -> PyResult<Vec<RgbImage>> {
    let decoded = py.detach(|| images.into_iter().map(Source::decode).collect::<PyResult<Vec<_>>>())?;
    let image = |(name, Decoded { image, warning }): (String, Decoded)| {
        if let Some(warning) = warning {
            installation::warn::<PyUserWarning>(py, &format!("{name}: {warning}"))?;
        }
        Ok(image)
    };
    decoded.into_iter().map(image).collect()
}

impl Source {
    /// The image that this object is. `None` if it is none, as a list.
    fn of(object: &Bound<'_, PyAny>, index: usize) -> PyResult<Option<Self>> {
        let name = || format!("image {index}");
        if object.is_instance_of::<PyString>() || object.hasattr("__fspath__")? {
            let file: PathBuf = object.extract()?;
            return Ok(Some(Self { name: file.display().to_string(), content: Content::File(file) }));
        }
        if let Ok(buffer) = PyUntypedBuffer::get(object) {
            return Ok(Some(Self { content: of_buffer(object.py(), &buffer, &name())?, name: name() }));
        }
        // Pillow's images have no buffer.
        if let Ok(array) = object.getattr("__array_interface__") {
            let pixels = of_array_interface(&array, &name())?;
            return Ok(Some(Self { content: Content::Pixels(pixels), name: name() }));
        }
        Ok(None)
    }

    fn decode(self) -> PyResult<(String, Decoded)> {
        let Self { name, content } = self;
        let decoded = match content {
            Content::File(file) => images::open_with_warning(&file).map_err(error::of_model)?,
            Content::Bytes(bytes) => {
                images::decode(&bytes).map_err(|error| PyValueError::new_err(format!("{name}: {error}")))?
            }
            Content::Pixels(image) => Decoded { image, warning: None },
        };
        Ok((name, decoded))
    }
}

/// One dimension: the bytes of an image file. Three: pixels.
fn of_buffer(py: Python<'_>, buffer: &PyUntypedBuffer, name: &str) -> PyResult<Content> {
    let Ok(numbers) = buffer.as_typed::<u8>() else {
        let format = buffer.format().to_string_lossy();
        return Err(wrong_numbers(name, &format));
    };
    let numbers = || numbers.to_vec(py);
    match *buffer.shape() {
        [_] => Ok(Content::Bytes(numbers()?)),
        ref shape => of_pixels(shape, numbers, name).map(Content::Pixels),
    }
}

fn of_array_interface(array: &Bound<'_, PyAny>, name: &str) -> PyResult<RgbImage> {
    let kind: String = array.get_item("typestr")?.extract()?;
    if kind != "|u1" {
        return Err(wrong_numbers(name, &kind));
    }
    let shape: Vec<usize> = array.get_item("shape")?.extract()?;
    let data = array.get_item("data")?;
    of_pixels(&shape, || data.extract(), name)
}

fn wrong_numbers(name: &str, found: &str) -> PyErr {
    PyValueError::new_err(format!("{name}: the numbers of an array must be of type uint8, not `{found}`"))
}

fn of_pixels(shape: &[usize], numbers: impl FnOnce() -> PyResult<Vec<u8>>, name: &str) -> PyResult<RgbImage> {
    let sides = match *shape {
        [height, width, 3] => u32::try_from(width).ok().zip(u32::try_from(height).ok()),
        _ => None,
    };
    let wrong = || {
        let shape = shape.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
        PyValueError::new_err(format!(
            "{name}: the shape of an array must be (height, width, 3) for red, green and blue, not ({shape})"
        ))
    };
    let (width, height) = sides.ok_or_else(wrong)?;
    if width == 0 || height == 0 {
        return Err(PyValueError::new_err(format!("{name} has no pixels")));
    }
    RgbImage::from_raw(width, height, numbers()?).ok_or_else(wrong)
}
