//! What a release consists of: the crates that are linked into the program and the npm packages of its pages. Written as a
//! list of licence texts and as a CycloneDX document.
//!
//! The document is written here rather than by cargo-cyclonedx, since that lists crates only, and all that any target or
//! feature might link.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{Release, build};
use crate::command::{cargo, run_quietly};

pub(super) struct Materials(Vec<Component>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Component {
    name: String,
    version: String,
    /// SPDX expression.
    licence: String,
    /// Package URL.
    purl: String,
    folder: PathBuf,
}

/// The components of a release, sorted by name.
pub(super) fn of(release: &Release) -> Result<Materials> {
    let mut components = crates(release)?;
    components.extend(packages(release)?);
    components.sort();
    Ok(Materials(components))
}

/// The crates of other people that are linked for the target.
fn crates(release: &Release) -> Result<Vec<Component>> {
    let mut tree = cargo(&release.root);
    tree.args(["tree", "--locked", "--package", build::PACKAGE, "--features", build::FEATURES]);
    tree.args(["--edges", "normal", "--target", &release.target, "--prefix", "none", "--format", "{p}"]);
    let linked = run_quietly(&mut tree)?;
    // Lines such as `serde v1.0.0` and `syn v2.0.0 (proc-macro)`; those of the workspace have a path.
    let linked: BTreeSet<(&str, &str)> = linked
        .lines()
        .filter(|line| !line.contains("(proc-macro)"))
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| (name, rest.split(' ').next().unwrap_or(rest)))
        .collect();
    let metadata = run_quietly(cargo(&release.root).args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("cannot read the output of `cargo metadata`")?;
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let component = |package: &Value| {
        let (name, version) = (package["name"].as_str()?, package["version"].as_str()?);
        // Crates of the workspace have no source.
        (linked.contains(&(name, version)) && !package["source"].is_null()).then(|| Component {
            name: name.to_owned(),
            version: version.to_owned(),
            // The old way to write it.
            licence: package["license"].as_str().unwrap_or("NOASSERTION").replace('/', " OR "),
            purl: format!("pkg:cargo/{name}@{version}"),
            folder: Path::new(package["manifest_path"].as_str().unwrap_or_default()).with_file_name(""),
        })
    };
    Ok(packages.iter().filter_map(component).collect())
}

/// The npm packages of the pages.
fn packages(release: &Release) -> Result<Vec<Component>> {
    let folder = release.root.join("web-demo");
    let file = folder.join("package-lock.json");
    let lock = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let lock: Value = serde_json::from_slice(&lock).with_context(|| format!("{} is not JSON", file.display()))?;
    let packages = lock["packages"].as_object().into_iter().flatten();
    let component = |(path, package): (&String, &Value)| {
        let name = path.rsplit_once("node_modules/")?.1;
        let is_used = package["dev"] != true && package["optional"] != true && package["devOptional"] != true;
        is_used.then(|| {
            let version = package["version"].as_str().unwrap_or_default();
            Component {
                name: name.to_owned(),
                version: version.to_owned(),
                licence: package["license"].as_str().unwrap_or("NOASSERTION").to_owned(),
                purl: format!("pkg:npm/{}@{version}", name.replace('@', "%40")),
                folder: folder.join(path),
            }
        })
    };
    Ok(packages.filter_map(component).collect())
}

impl Materials {
    /// All licence texts, each of them once, after the names of the components that it belongs to.
    pub(super) fn licences(&self) -> Result<String> {
        let mut texts: BTreeMap<String, Vec<&Component>> = BTreeMap::new();
        for component in &self.0 {
            for text in component.licence_texts()? {
                texts.entry(text).or_default().push(component);
            }
        }
        let mut out = String::from("The program contains these components.\n\n");
        let line = |it: &Component| format!("{} {}: {}\n", it.name, it.version, it.licence);
        out.extend(self.0.iter().map(line));
        for (text, components) in texts {
            out.push_str("\n----------------------------------------------------------------------\n");
            out.extend(components.into_iter().map(line));
            out.push('\n');
            out.push_str(&text);
        }
        Ok(out)
    }

    /// The CycloneDX document.
    pub(super) fn bill(&self, release: &Release) -> Result<String> {
        let component = |it: &Component| {
            let mut component = json!({
                "type": "library",
                "bom-ref": it.purl,
                "name": it.name,
                "version": it.version,
                "purl": it.purl,
            });
            if it.licence != "NOASSERTION" {
                component["licenses"] = json!([{ "expression": it.licence }]);
            }
            component
        };
        let bill = json!({
            "bomFormat": "CycloneDX",
            "specVersion": "1.5",
            "version": 1,
            "metadata": {
                "component": {
                    "type": "application",
                    "bom-ref": "landfall",
                    "name": "landfall",
                    "version": release.version,
                    "licenses": [{ "expression": "MIT OR Apache-2.0" }],
                    "properties": [{ "name": "target", "value": release.target }],
                },
            },
            "components": self.0.iter().map(component).collect::<Vec<_>>(),
        });
        Ok(format!("{bill:#}\n"))
    }
}

impl Component {
    fn licence_texts(&self) -> Result<Vec<String>> {
        let is_licence = |name: &str| {
            let name = name.to_ascii_lowercase();
            ["license", "licence", "copying", "notice", "copyright", "thirdparty"]
                .iter()
                .any(|start| name.starts_with(start))
        };
        let failed = || format!("cannot read {}", self.folder.display());
        let mut files = Vec::new();
        for entry in self.folder.read_dir().with_context(failed)? {
            let path = entry.with_context(failed)?.path();
            let named = path.file_name().and_then(|name| name.to_str()).is_some_and(is_licence);
            if named && path.is_file() {
                files.push(path);
            }
        }
        files.sort();
        let read = |file: &PathBuf| Ok(String::from_utf8_lossy(&fs::read(file)?).replace("\r\n", "\n"));
        files.iter().map(read).collect::<std::io::Result<_>>().with_context(failed)
    }
}
