//! The page's entry points: a C interface for `wasm32-unknown-unknown`, built by `cargo xtask wasm`.
//!
//! The caller reserves memory with [`input`], writes its bytes there, calls a function and reads the result at [`output`]:
//! little-endian floats or UTF-8 JSON if the function returned 0, an error message if it returned 1. Both stay valid until
//! the next call. An instance serves one caller; a trap leaves it unusable.

#![allow(unsafe_code, reason = "exported functions need unmangled names; nothing else here is unsafe")]

use std::cell::RefCell;
use std::path::PathBuf;

use image::RgbImage;
use s2::cell::Cell as S2Cell;
use s2::cellid::CellID;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::bundle::{Bundle, EncoderFile, Manifest, Prior};
use crate::images;
use crate::latlng::LatLng;
use crate::metadata::gps;
use crate::posterior::Posterior;
use crate::prediction::{Prediction, RadiusKm, area_if_doubtful, top_countries};
use crate::preprocess;
use crate::score::MapScale;

/// Cells with a lower probability are left out.
const LEAST_P: f64 = 1e-4;
const COUNTRIES: usize = 5;
/// A corner of a cell this close to a pole is at the pole.
const POLE_TOLERANCE_DEG: f64 = 1e-9;

type Outcome = Result<Vec<u8>, String>;

#[derive(Default)]
struct State {
    inputs: [Vec<u8>; 2],
    output: Vec<u8>,
    bundle: Option<Bundle>,
    /// What is wrong with the last image file that was decoded.
    warning: Option<String>,
    hash: Sha256,
}

impl State {
    fn bundle(&self) -> Result<&Bundle, String> {
        self.bundle.as_ref().ok_or_else(|| "no bundle is open".into())
    }

    /// The first input as floats.
    fn floats(&self) -> Vec<f32> {
        let (quads, _) = self.inputs[0].as_chunks();
        quads.iter().map(|quad| f32::from_le_bytes(*quad)).collect()
    }
}

thread_local! {
    static STATE: RefCell<State> = RefCell::default();
}

/// Runs `work`, stores its result as the output and drops the inputs.
fn respond(work: impl FnOnce(&mut State) -> Outcome) -> u32 {
    STATE.with_borrow_mut(|state| {
        state.output = Vec::new();
        let outcome = work(state);
        state.inputs = Default::default();
        let failed = outcome.is_err();
        state.output = outcome.unwrap_or_else(String::into_bytes);
        u32::from(failed)
    })
}

fn bytes_of(numbers: impl IntoIterator<Item = f32>) -> Vec<u8> {
    numbers.into_iter().flat_map(f32::to_le_bytes).collect()
}

fn json_of(value: &impl Serialize) -> Outcome {
    serde_json::to_vec(value).map_err(|e| e.to_string())
}

/// Reserves `len` bytes for the first (0) or second (1) input; null if memory is exhausted.
#[unsafe(no_mangle)]
pub extern "C" fn input(slot: usize, len: usize) -> *mut u8 {
    STATE.with_borrow_mut(|state| {
        let Some(room) = state.inputs.get_mut(slot) else { return std::ptr::null_mut() };
        *room = Vec::new();
        if room.try_reserve_exact(len).is_err() {
            return std::ptr::null_mut();
        }
        room.resize(len, 0);
        room.as_mut_ptr()
    })
}

/// Address of the output.
#[unsafe(no_mangle)]
pub extern "C" fn output() -> *const u8 {
    STATE.with_borrow(|state| state.output.as_ptr())
}

/// Length of the output in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn output_len() -> usize {
    STATE.with_borrow(|state| state.output.len())
}

/// Opens a bundle from the inputs `bundle.json` and `cells.json`. Returns the names and sizes of the networks' tensors:
/// `{"id", "input", "output", "logits", "dim", "size", "squares", "cells"}`.
#[unsafe(no_mangle)]
pub extern "C" fn open() -> u32 {
    respond(|state| {
        let manifest = Manifest::parse(&state.inputs[0]).map_err(|why| format!("bundle.json: {why}"))?;
        let cells = manifest.parse_cells(&state.inputs[1]).map_err(|why| format!("{}: {why}", manifest.cells.file))?;
        let description = json!({
            "id": manifest.id(),
            "input": manifest.encoder.input,
            "output": manifest.encoder.output,
            "logits": manifest.head.outputs[0],
            "dim": manifest.encoder.dim,
            "size": manifest.preprocess.size,
            "squares": manifest.preprocess.squares(),
            "cells": manifest.cells.count,
        });
        state.bundle = Some(Bundle::of_parts(manifest, cells, PathBuf::new()));
        json_of(&description)
    })
}

/// Width and height of an image file, from its header, as a JSON array.
#[unsafe(no_mangle)]
pub extern "C" fn dimensions() -> u32 {
    respond(|state| {
        let metadata = images::metadata(&state.inputs[0]).map_err(|e| e.to_string())?;
        json_of(&[metadata.width, metadata.height])
    })
}

/// The position at which a photo was taken, according to the metadata of its file: `{"lat", "lng"}`, or `null` if it has
/// none that can be used.
#[unsafe(no_mangle)]
pub extern "C" fn position() -> u32 {
    respond(|state| json_of(&gps::position_in(&mut std::io::Cursor::new(&state.inputs[0])).unwrap_or(None)))
}

/// The encoder's inputs for an image file: a tensor of shape `[squares, 3, size, size]`. [`warning`] says what is wrong with
/// the file.
#[unsafe(no_mangle)]
pub extern "C" fn picture() -> u32 {
    respond(|state| {
        let decoded = images::decode(&state.inputs[0]).map_err(|e| e.to_string())?;
        state.warning = decoded.warning.map(|warning| warning.to_string());
        Ok(tensors(state.bundle()?, &decoded.image))
    })
}

/// What is wrong with the file of the last [`picture`], such as missing rows: JSON, a string or `null`.
#[unsafe(no_mangle)]
pub extern "C" fn warning() -> u32 {
    respond(|state| json_of(&state.warning))
}

/// As [`picture`], for `width × height` pixels of four bytes: red, green, blue, ignored.
#[unsafe(no_mangle)]
pub extern "C" fn pixels(width: u32, height: u32) -> u32 {
    respond(|state| {
        let (quads, _) = state.inputs[0].as_chunks::<4>();
        let rgb = quads.iter().flat_map(|[red, green, blue, _]| [*red, *green, *blue]).collect();
        let picture = RgbImage::from_raw(width, height, rgb).filter(|_| width > 0 && height > 0);
        Ok(tensors(state.bundle()?, &picture.ok_or("fewer pixels than width × height")?))
    })
}

fn tensors(bundle: &Bundle, picture: &RgbImage) -> Vec<u8> {
    bytes_of(bundle.manifest.preprocess.tensors(picture).flatten())
}

/// The head's input from the encoder's outputs for all squares of an image, concatenated.
#[unsafe(no_mangle)]
pub extern "C" fn embedding() -> u32 {
    respond(|state| {
        let mut embedding = state.floats();
        embedding.chunks_mut(state.bundle()?.manifest.encoder.dim.max(1)).for_each(preprocess::normalise);
        Ok(bytes_of(embedding))
    })
}

/// The prediction for one place from the logits of its views, concatenated, and the name of the prior as the second input.
/// JSON as in `web-demo/src/engine/types.ts`, without the timings.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> u32 {
    respond(|state| {
        let logits = state.floats();
        let prior: Prior = String::from_utf8_lossy(&state.inputs[1]).parse()?;
        let bundle = state.bundle()?;
        let rows: Vec<&[f32]> = logits.chunks(bundle.cells.cells.len()).collect();
        let posterior = bundle.fuse(&rows, prior).ok_or("the logits are not finite or do not fit the cells")?;
        json_of(&PredictionJson::new(&posterior, bundle.manifest.id(), rows.len()))
    })
}

/// Points and distance of a guess on a map of this scale: `{"points", "distanceKm"}`. Coordinates are in degrees.
#[unsafe(no_mangle)]
pub extern "C" fn score(lat: f64, lng: f64, true_lat: f64, true_lng: f64, scale_m: f64) -> u32 {
    respond(|_| {
        let place = |lat, lng| LatLng::new(lat, lng).map_err(|e| e.to_string());
        let distance_m = place(lat, lng)?.distance_m(place(true_lat, true_lng)?);
        let scale = MapScale::try_from(scale_m).map_err(|e| e.to_string())?;
        json_of(&json!({ "points": scale.points(distance_m), "distanceKm": distance_m / 1000.0 }))
    })
}

/// The open bundle's encoder as it is run, from the inputs network and adapter (empty if there is none). `has_bytes`: whether
/// the device has int8 products.
#[unsafe(no_mangle)]
pub extern "C" fn encoder(has_bytes: bool) -> u32 {
    respond(|state| {
        let EncoderFile { activations, output, .. } = state.bundle()?.manifest.encoder.clone();
        let [network, adapter] = std::mem::take(&mut state.inputs);
        let adapter = Some(adapter.as_slice()).filter(|adapter| !adapter.is_empty());
        let network =
            if has_bytes { activations.of(network, adapter) } else { activations.dequantized(network, adapter) };
        activations.for_output(network?, &output)
    })
}

/// Adds the input to the hash.
#[unsafe(no_mangle)]
pub extern "C" fn hash() -> u32 {
    respond(|state| {
        state.hash.update(&state.inputs[0]);
        Ok(Vec::new())
    })
}

/// The sha256 of all inputs of [`hash`] since the last call, in lower-case hexadecimal.
#[unsafe(no_mangle)]
pub extern "C" fn digest() -> u32 {
    respond(|state| {
        let digest = std::mem::take(&mut state.hash).finalize();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes())
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PredictionJson {
    #[serde(flatten)]
    at: LatLng,
    place: String,
    area: Option<String>,
    country: Option<&'static str>,
    expected_score: f64,
    radius_km: RadiusKm,
    countries: Vec<CountryShare>,
    cells: Vec<CellShare>,
    region50: Vec<usize>,
    region90: Vec<usize>,
    bundle: String,
    views: usize,
}

#[derive(Serialize)]
struct CountryShare {
    iso2: &'static str,
    name: &'static str,
    p: f64,
}

#[derive(Serialize)]
struct CellShare {
    #[serde(flatten)]
    at: LatLng,
    p: f64,
    token: String,
    level: u64,
    ring: Vec<[f64; 2]>,
}

impl PredictionJson {
    fn new(posterior: &Posterior<'_>, bundle: String, views: usize) -> Self {
        let prediction = Prediction::for_photo(posterior);
        let likely = posterior.top(posterior.table.cells.len()).into_iter().take_while(|(_, p)| *p >= LEAST_P);
        let cells: Vec<CellShare> = likely
            .map(|(i, p)| {
                let cell = &posterior.table.cells[i];
                CellShare { at: cell.at, p, token: cell.token.clone(), level: cell.level, ring: ring(&cell.token) }
            })
            .collect();
        // Both are sorted by probability, so a region is a prefix of the list.
        let region = |mass| (0..posterior.credible_region(mass).len().min(cells.len())).collect();
        let countries = top_countries(posterior, COUNTRIES).into_iter();
        Self {
            area: area_if_doubtful(posterior, &prediction),
            at: prediction.point,
            country: prediction.country,
            expected_score: prediction.expected_score,
            radius_km: prediction.radius_km(),
            countries: countries
                .map(|(country, p)| CountryShare { iso2: country.iso2, name: country.name, p })
                .collect(),
            region50: region(0.5),
            region90: region(0.9),
            place: prediction.place,
            cells,
            bundle,
            views,
        }
    }
}

/// Outline of a cell as `[lng, lat]`, counter-clockwise. Longitudes continue across the date line, beyond ±180.
fn ring(token: &str) -> Vec<[f64; 2]> {
    let cell = S2Cell::from(CellID::from_token(token));
    let corners = [0, 1, 2, 3].map(|k| {
        let corner = s2::latlng::LatLng::from(cell.vertex(k));
        [corner.lng.deg(), corner.lat.deg()]
    });
    let mut outline: Vec<[f64; 2]> = Vec::new();
    for (k, &[lng, lat]) in corners.iter().enumerate() {
        if lat.abs() < 90.0 - POLE_TOLERANCE_DEG {
            outline.push([lng, lat]);
        } else {
            // A pole has every longitude: the cell reaches it along the meridians of the two adjacent corners.
            outline.extend([(k + 3) % 4, (k + 1) % 4].map(|adjacent| [corners[adjacent][0], lat]));
        }
    }
    let first = outline.first().map_or(0.0, |[lng, _]| *lng);
    for [lng, _] in &mut outline {
        *lng -= 360.0 * ((*lng - first) / 360.0).round();
    }
    outline
}
