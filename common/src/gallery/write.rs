//! Making a gallery.

use std::io::{self, BufWriter, Seek, Write};
use std::path::Path;

use anyhow::{Context, Result};
use landfall_model::LatLng;
use landfall_model::bundle::Manifest;

use crate::exit::{environment_error, usage_error};
use crate::fs::{f32_to_le_bytes, persist_over, temporary_file_in};
use crate::gallery::file::{DEGREES, Layout, MAGIC, MAX_DIM, MAX_ROWS, VERSION};
use crate::gallery::search::code;
use crate::gallery::{EncoderIdentity, Gallery, Header};

/// The pictures of a gallery that is not written yet.
pub struct GalleryBuilder {
    bundle: String,
    encoder: EncoderIdentity,
    dim: usize,
    vectors: Vec<u8>,
    scales: Vec<f32>,
    places: Vec<[i32; 2]>,
    ends: Vec<u64>,
    names: Vec<u8>,
}

impl GalleryBuilder {
    /// A gallery without pictures, for embeddings of this bundle's encoder.
    pub fn new(manifest: &Manifest) -> Self {
        Self {
            bundle: manifest.id(),
            encoder: EncoderIdentity::of(manifest),
            dim: manifest.encoder.dim,
            vectors: Vec::new(),
            scales: Vec::new(),
            places: Vec::new(),
            ends: Vec::new(),
            names: Vec::new(),
        }
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// Whether there are no pictures.
    pub fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// Adds a picture with its vector, as from [`super::pooled`].
    ///
    /// # Errors
    /// When the vector is not one of the encoder.
    pub fn push(&mut self, name: &str, at: LatLng, vector: &[f32]) -> Result<()> {
        if vector.len() != self.dim || vector.iter().any(|x| !x.is_finite()) {
            return Err(usage_error(format!("{name}: the embedding must have {} finite numbers", self.dim)));
        }
        let max = vector.iter().fold(0.0f32, |max, x| max.max(x.abs())).max(f32::MIN_POSITIVE);
        let scale = max / f32::from(i8::MAX);
        let components: Vec<u8> = vector.iter().map(|x| ((x / scale).round() as i8).cast_unsigned()).collect();
        self.push_row(name, at, &components, scale);
        Ok(())
    }

    /// Adds a picture of another gallery, of the same encoder, under the same name and with this location.
    ///
    /// # Errors
    /// When the lengths of vectors differ.
    pub fn push_from(&mut self, gallery: &Gallery, row: usize, at: LatLng) -> Result<()> {
        if gallery.header().encoder != self.encoder || gallery.dim != self.dim {
            return Err(usage_error("the galleries are of different encoders"));
        }
        let (components, scale) = gallery.vector(row);
        self.push_row(&gallery.name(row), at, components, scale);
        Ok(())
    }

    fn push_row(&mut self, name: &str, at: LatLng, components: &[u8], scale: f32) {
        self.vectors.extend_from_slice(components);
        self.scales.push(scale);
        self.places.push([at.lat, at.lng].map(|degrees| (degrees / DEGREES).round() as i32));
        self.names.extend_from_slice(name.as_bytes());
        self.ends.push(self.names.len() as u64);
    }

    /// Writes the file, atomically.
    ///
    /// # Errors
    /// An environment error when it cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let cannot_write = || environment_error(format!("cannot write {}", file.display()));
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder).with_context(cannot_write)?;
        let mut temporary = temporary_file_in(folder).with_context(cannot_write)?;
        self.write_to(temporary.as_file_mut()).with_context(cannot_write)?;
        persist_over(temporary, file).with_context(cannot_write)
    }

    fn write_to(&self, file: &mut (impl Write + Seek)) -> io::Result<()> {
        let header = Header {
            bundle: self.bundle.clone(),
            encoder: self.encoder.clone(),
            rows: self.len() as u64,
            dim: self.dim as u64,
            names: self.names.len() as u64,
        };
        let json = serde_json::to_vec(&header)?;
        let too_large = || {
            let reason = format!("a gallery has at most {MAX_ROWS} pictures and vectors of {MAX_DIM} numbers");
            io::Error::new(io::ErrorKind::FileTooLarge, reason)
        };
        let layout = Layout::new(json.len(), &header).ok_or_else(too_large)?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&(json.len() as u32).to_le_bytes())?;
        out.write_all(&json)?;
        let mean = self.mean();
        pad_to(&mut out, layout.mean)?;
        out.write_all(&f32_to_le_bytes(&mean))?;
        pad_to(&mut out, layout.codes)?;
        for i in 0..self.len() {
            for word in code(&self.vector(i), &mean) {
                out.write_all(&word.to_le_bytes())?;
            }
        }
        pad_to(&mut out, layout.vectors)?;
        out.write_all(&self.vectors)?;
        pad_to(&mut out, layout.scales)?;
        self.scales.iter().try_for_each(|scale| out.write_all(&scale.to_le_bytes()))?;
        pad_to(&mut out, layout.places)?;
        self.places.iter().flatten().try_for_each(|degrees| out.write_all(&degrees.to_le_bytes()))?;
        pad_to(&mut out, layout.ends)?;
        self.ends.iter().try_for_each(|end| out.write_all(&end.to_le_bytes()))?;
        pad_to(&mut out, layout.names)?;
        out.write_all(&self.names)?;
        out.flush()
    }

    fn vector(&self, i: usize) -> Vec<f32> {
        let components = &self.vectors[i * self.dim..(i + 1) * self.dim];
        components.iter().map(|x| f32::from(x.cast_signed()) * self.scales[i]).collect()
    }

    fn mean(&self) -> Vec<f32> {
        let mut sum = vec![0.0f64; self.dim];
        for i in 0..self.len() {
            sum.iter_mut().zip(self.vector(i)).for_each(|(sum, x)| *sum += f64::from(x));
        }
        sum.into_iter().map(|sum| (sum / self.len().max(1) as f64) as f32).collect()
    }
}

/// Writes zeros up to an offset from the start of the file.
fn pad_to(out: &mut (impl Write + Seek), offset: usize) -> io::Result<()> {
    let missing = (offset as u64).saturating_sub(out.stream_position()?);
    out.write_all(&vec![0; missing as usize])
}
