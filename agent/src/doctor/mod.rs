//! `doctor`: checks the installation and suggests fixes.

pub(crate) mod bench;
pub(crate) mod practice;
pub(crate) mod site;

use anyhow::anyhow;
use landfall_common::exit::hint;
use landfall_model::engine::Engine;
use landfall_model::{Bundle, Classifier, bundle, runtime};
use serde::Serialize;

use crate::browser;
use crate::server::assets::Pages;
use crate::site::{BUILT_IN, Profile};

/// The result of one check.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Finding {
    /// Name of the checked component.
    pub what: String,
    /// Whether it is usable.
    pub ok: bool,
    /// Whether everything else works without it.
    pub optional: bool,
    /// What was found, or how to fix it.
    pub detail: String,
}

/// Checks everything that the agent needs. Call it on a thread for blocking work of the runtime.
pub(crate) fn examine() -> Vec<Finding> {
    let browser = tokio::runtime::Handle::current().block_on(browser::examine());
    let mut findings: Vec<Finding> = browser.into_iter().map(|(what, result)| finding(what, result)).collect();
    findings.extend([
        check("ONNX Runtime", check_runtime()),
        check("arena page", Pages::find("arena.html", None).map(|pages| pages.to_string())),
    ]);
    let names = bundle::names();
    if names.is_empty() {
        findings.push(check("bundles", Err(anyhow!("none found; unpack those of the release beside the program as bundles/NAME, or in a checkout run `git checkout model/bundles`"))));
    }
    findings.extend(bundles(&names));
    findings.extend(
        BUILT_IN
            .iter()
            .map(|(name, _)| check(&format!("site {name}"), Profile::find(name).map(|profile| profile.id()))),
    );
    findings
}

/// The bundles. Those whose encoder was not downloaded are optional if another one works.
fn bundles(names: &[String]) -> Vec<Finding> {
    let checked: Vec<_> = names.iter().map(|name| (name, check_bundle(name).map_err(anyhow::Error::from))).collect();
    let one_works = checked.iter().any(|(_, result)| result.is_ok());
    let finding = |(name, result): (&String, anyhow::Result<String>)| {
        let is_absent = |cause: &(dyn std::error::Error + 'static)| {
            matches!(cause.downcast_ref(), Some(landfall_model::Error::EncoderNotInstalled { .. }))
        };
        let optional = one_works && result.as_ref().is_err_and(|error| error.chain().any(is_absent));
        Finding { optional, ..check(&format!("bundle {name}"), result) }
    };
    checked.into_iter().map(finding).collect()
}

fn check<E: Into<anyhow::Error>>(what: &str, result: Result<String, E>) -> Finding {
    let described = result.map_err(|why| {
        let why = why.into();
        hint(&why).map_or_else(|| format!("{why:#}"), |hint| format!("{why:#}; {hint}"))
    });
    finding(what, described)
}

fn finding(what: &str, result: Result<String, String>) -> Finding {
    let ok = result.is_ok();
    Finding { what: what.to_owned(), ok, optional: false, detail: result.unwrap_or_else(|why| why) }
}

/// The library that was loaded, and why this one; or the engine in the program that runs networks without it.
fn check_runtime() -> anyhow::Result<String> {
    let runtime = match (runtime::load_library(), Engine::preferred()) {
        (Err(_), Ok(engine)) if runtime::IS_STATIC => {
            return Ok(format!("not needed: {engine}, inside this statically linked program, runs the bundle pocket"));
        }
        (Err(why), Ok(engine)) => return Ok(format!("{engine} runs the bundle pocket instead: {why}")),
        (loaded, _) => loaded?,
    };
    Ok(format!("{} ({}), {}", runtime.version, runtime.origin, runtime.file.display()))
}

/// Runs inference on a grey image, which verifies that files, runtime and cells are consistent.
fn check_bundle(name: &str) -> landfall_model::Result<String> {
    let classifier = Classifier::with_workers(Bundle::find(name)?, 1)?;
    let logits = classifier.logits(&[image::RgbImage::from_pixel(256, 256, image::Rgb([128; 3]))])?;
    let (id, dir) = (classifier.bundle.manifest.id(), classifier.bundle.dir.display());
    Ok(format!("{id}, {} cells, {}, {dir}", logits[0].len(), classifier.engine()))
}
