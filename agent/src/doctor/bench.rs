//! Latency of a bundle on this computer.

use std::time::Instant;

use image::{Rgb, RgbImage};
use landfall_common::statistics::median;
use landfall_model::{Bundle, Classifier};
use serde::Serialize;

/// Runs before the measured ones.
const WARM_UP: usize = 3;
/// Measured runs; the medians count.
const RUNS: usize = 11;
/// Size of the measured view in pixels, as the agent looks at pages.
const VIEW: (u32, u32) = (800, 800);

/// Median times on one thread.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Latency {
    /// Name and version of the bundle.
    pub(crate) bundle: String,
    pub(crate) threads: usize,
    /// The widest instructions of the processor for products of bytes.
    pub(crate) instructions: &'static str,
    /// Squares of a view that are encoded.
    pub(crate) squares: usize,
    /// One square through the encoder.
    pub(crate) square_ms: f64,
    /// All squares of a view through the encoder.
    pub(crate) encoder_ms: f64,
    /// From the pixels of a view to logits over cells.
    pub(crate) view_ms: f64,
}

/// Measures a bundle.
///
/// # Errors
/// When it cannot be loaded.
pub(crate) fn measure(bundle: Bundle) -> landfall_model::Result<Latency> {
    let (side, squares) = (bundle.manifest.preprocess.size as usize, bundle.manifest.preprocess.squares());
    let classifier = Classifier::with_workers(bundle, 1)?;
    let tensor: Vec<f32> = (0..3 * side * side).map(|i| (i as f32 * 0.37).sin()).collect();
    let view = [RgbImage::from_fn(VIEW.0, VIEW.1, |x, y| Rgb([(x * 7) as u8, (y * 5) as u8, (x ^ y) as u8]))];
    let (mut square_ms, mut encoder_ms, mut view_ms) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..WARM_UP + RUNS {
        let start = Instant::now();
        classifier.encoder().embed_tensor(0, &tensor)?;
        let one = start.elapsed();
        for _ in 1..squares {
            classifier.encoder().embed_tensor(0, &tensor)?;
        }
        let all = start.elapsed();
        classifier.logits(&view)?;
        if run >= WARM_UP {
            let ms = |duration: std::time::Duration| duration.as_secs_f64() * 1000.0;
            square_ms.push(ms(one));
            encoder_ms.push(ms(all));
            view_ms.push(ms(start.elapsed() - all));
        }
    }
    let [square_ms, encoder_ms, view_ms] =
        [square_ms, encoder_ms, view_ms].map(|times| median(times).unwrap_or_default());
    let bundle = classifier.bundle.manifest.id();
    Ok(Latency { bundle, threads: 1, instructions: instructions(), squares, square_ms, encoder_ms, view_ms })
}

#[cfg(target_arch = "x86_64")]
fn instructions() -> &'static str {
    match () {
        () if is_x86_feature_detected!("avx512vnni") => "AVX-512 VNNI",
        () if is_x86_feature_detected!("avxvnni") => "AVX-VNNI",
        () if is_x86_feature_detected!("avx512bw") => "AVX-512",
        () if is_x86_feature_detected!("avx2") => "AVX2",
        () => "SSE",
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn instructions() -> &'static str {
    std::env::consts::ARCH
}
