//! `doctor`: what is there, what is missing, and how to mend it.

pub mod site;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use landfall_common::statistics::median;
use landfall_model::{Bundle, Classifier, bundle, runtime};
use serde::Serialize;

use crate::browser;
use crate::server::assets;
use crate::site::{BUILT_IN, Profile};

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// What.
    pub what: String,
    /// Whether it can be used.
    pub ok: bool,
    /// What was found, or what to do.
    pub detail: String,
}

/// Looks at everything the agent needs.
pub fn examine() -> Vec<Finding> {
    let mut findings = vec![
        check_program("chromium", browser::chromium().as_deref()),
        check_program("chromedriver", browser::chromedriver().as_deref()),
        check(
            "ONNX Runtime",
            runtime::load_library()
                .map(|_| runtime::find().map(|library| library.display().to_string()).unwrap_or_default()),
        ),
        check("arena page", assets::find_page("arena.html", None).map(|dir| dir.display().to_string())),
    ];
    let names = bundle::names();
    if names.is_empty() {
        findings.push(check("bundles", Err::<String, _>("none is found; `git checkout model/bundles` restores them")));
    }
    findings.extend(names.iter().map(|name| check(&format!("bundle {name}"), check_bundle(name))));
    findings.extend(
        BUILT_IN
            .iter()
            .map(|(name, _)| check(&format!("site {name}"), Profile::find(name).map(|profile| profile.id()))),
    );
    findings
}

/// Milliseconds that one view, all squares of it, takes through a bundle's encoder on one thread: the median of 30.
///
/// # Errors
/// When the bundle cannot be loaded.
pub fn encoder_ms(bundle: Bundle) -> landfall_model::Result<f64> {
    let side = bundle.manifest.preprocess.size as usize;
    let squares = 1 + bundle.manifest.preprocess.details.len();
    let classifier = Classifier::with_workers(bundle, 1)?;
    let tensor: Vec<f32> = (0..3 * side * side).map(|i| (i as f32 * 0.37).sin()).collect();
    for _ in 0..3 {
        classifier.encoder().embed_tensor(0, &tensor)?;
    }
    let mut times = Vec::new();
    for _ in 0..30 {
        let start = Instant::now();
        for _ in 0..squares {
            classifier.encoder().embed_tensor(0, &tensor)?;
        }
        times.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    Ok(median(times).unwrap_or_default())
}

fn check<E: std::fmt::Display>(what: &str, result: Result<String, E>) -> Finding {
    let (ok, detail) = match result {
        Ok(detail) => (true, detail),
        Err(why) => (false, why.to_string()),
    };
    Finding { what: what.to_owned(), ok, detail }
}

fn check_program(what: &str, path: Option<&Path>) -> Finding {
    let result = path.ok_or("not in the PATH; run `cargo xtask setup` or install it").map(|path| {
        let version = Command::new(path).arg("--version").output();
        let version = version.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        format!("{} ({})", path.display(), version.unwrap_or_else(|_| "does not say its version".to_owned()))
    });
    check(what, result)
}

/// A whole pass on a grey picture: proves that files, runtime and cells fit together.
fn check_bundle(name: &str) -> landfall_model::Result<String> {
    let classifier = Classifier::with_workers(Bundle::find(name)?, 1)?;
    let logits = classifier.logits(&[image::RgbImage::from_pixel(256, 256, image::Rgb([128; 3]))])?;
    Ok(format!("{}, {} cells, {}", classifier.bundle.manifest.id(), logits[0].len(), classifier.bundle.dir.display()))
}
