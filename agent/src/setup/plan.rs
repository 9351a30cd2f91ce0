//! What is installed, what has to be fetched, and what is computed from that.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use landfall_common::fs::read_json;
use landfall_model::bundle::{self, EncoderFile, read_network};
use landfall_model::runtime::{self, Origin};
use landfall_model::{Bundle, Error, installation};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::item::{Item, hex, no_cache_dir};

/// One part of the installation and its state.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Part {
    /// `ONNX Runtime`, or bundle and file: `desktop encoder.onnx`.
    pub(crate) what: String,
    pub(crate) state: State,
    /// Where it is or will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
    /// Bytes to download.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// Where it comes from, or what is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) detail: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    Present,
    ToFetch,
    ToCompute,
    Fetched,
    Computed,
    /// Not installed, and not something that set-up fetches.
    Missing,
    /// Of no use to this program.
    NotNeeded,
    Failed,
}

/// What a set-up has to do.
#[derive(Default)]
pub(crate) struct Plan {
    /// Everything, in the order in which it was found.
    pub(crate) parts: Vec<Part>,
    pub(super) fetch: Vec<Item>,
    /// Bundles whose encoders are computed, after everything is fetched.
    pub(super) compute: Vec<Bundle>,
    /// A runtime in the source tree, which other programs of the user do not find.
    pub(super) runtime_to_copy: Option<PathBuf>,
}

/// The part of a file in trainer/encoders that set-up reads.
#[derive(Deserialize)]
struct Description {
    encoder: EncoderFile,
}

impl Plan {
    /// What these bundles need, or all that are installed, if none is named. In a source tree the trainer's encoders belong
    /// to the latter.
    ///
    /// # Errors
    /// When a named bundle does not exist or is invalid, or there is no cache directory. What else is wrong becomes a part of
    /// the plan.
    pub(crate) fn of(names: &[String]) -> Result<Self> {
        let cache = bundle::cache_dir().ok_or_else(no_cache_dir)?;
        #[cfg(feature = "embed")]
        super::embedded::ensure(true)?;
        let mut plan = Self::default();
        plan.add_runtime(&cache);
        for name in names {
            plan.add_bundle(&Bundle::find(name)?);
        }
        if names.is_empty() {
            for name in bundle::names() {
                match Bundle::find(&name) {
                    Ok(bundle) => plan.add_bundle(&bundle),
                    Err(error) => plan.fail(&format!("bundle {name}"), None, &error.into()),
                }
            }
            plan.add_trainers_encoders();
        }
        Ok(plan)
    }

    /// Bytes to download.
    pub(crate) fn download_bytes(&self) -> u64 {
        // Items of one package need one download each, but no two encoders here are of the same.
        self.fetch.iter().map(Item::download_bytes).sum()
    }

    fn add_runtime(&mut self, cache: &Path) {
        let what = "ONNX Runtime";
        if runtime::IS_STATIC {
            let detail = "this program is statically linked and cannot load it; its built-in engine runs the pocket \
                          bundle, and no other";
            let (state, detail) = (State::NotNeeded, Some(detail.to_owned()));
            self.add(Part { what: what.into(), state, file: None, bytes: None, detail });
            return;
        }
        let item = Item::runtime(cache);
        let named = std::env::var_os("ORT_DYLIB_PATH").filter(|named| !named.is_empty()).map(PathBuf::from);
        if let Some(named) = named.filter(|named| !named.is_file()) {
            let error = anyhow!("ORT_DYLIB_PATH names {}, which is not a file: correct or unset it", named.display());
            self.fail(what, Some(named), &error);
            return;
        }
        // It is loaded to be checked, as by every command that needs it.
        match runtime::load_library() {
            Ok(runtime) => {
                let detail = format!("{}, {}", runtime.version, runtime.origin);
                self.present(what, &runtime.file, Some(detail));
                if runtime.origin == Origin::SourceTree && !have_same_length(&item.target, &runtime.file) {
                    self.runtime_to_copy = Some(runtime.file.clone());
                }
            }
            Err(Error::RuntimeNotFound { .. }) => self.fetch(item, None),
            Err(Error::RuntimeLoad { library, source }) if library == item.target => {
                self.fetch(item, Some(format!("the one in the cache directory is replaced: {source}")));
            }
            Err(error) => {
                let file = match &error {
                    Error::RuntimeLoad { library, .. } => Some(library.clone()),
                    _ => None,
                };
                let repair = "delete it, or name another library with ORT_DYLIB_PATH";
                self.fail(what, file, &anyhow!(error).context(repair));
            }
        }
    }

    fn add_bundle(&mut self, bundle: &Bundle) {
        let encoder = &bundle.manifest.encoder;
        let what = format!("{} {}", bundle.manifest.name, encoder.file);
        let Some(derived) = &encoder.derived else {
            self.add_encoder(&bundle.manifest.name, encoder, &bundle.dir);
            return;
        };
        let beside = bundle.dir.join(&encoder.file);
        let kept = encoder.cached().filter(|_| !beside.exists()).unwrap_or_else(|| beside.clone());
        if is_network(&kept, encoder) {
            self.present(&what, &kept, Some(format!("computed from that of {}", derived.bundle)));
        } else if beside.exists() {
            let error = anyhow!("is damaged: delete it, then it is computed again");
            self.fail(&what, Some(beside), &error);
        } else {
            match Bundle::open(&bundle.dir.join("..").join(&derived.bundle)) {
                // Only then is it read: a bundle may name itself.
                Ok(source) if source.manifest.encoder.derived.is_none() => self.add_bundle(&source),
                Ok(source) => {
                    let of = &source.manifest.name;
                    return self.fail(
                        &what,
                        None,
                        &anyhow!("the encoder of {of}, of which it is made, is computed itself"),
                    );
                }
                Err(error) => return self.fail(&what, None, &error.into()),
            }
            let detail = Some(format!("from that of {}", derived.bundle));
            self.add(Part { what, state: State::ToCompute, file: Some(kept), bytes: None, detail });
            self.compute.push(bundle.clone());
        }
    }

    /// An encoder that is not computed from another one.
    fn add_encoder(&mut self, name: &str, encoder: &EncoderFile, dir: &Path) {
        let what = format!("{name} {}", encoder.file);
        let damaged = match encoder.locate(dir) {
            Ok(paths) => {
                return self.present(&what, &paths.network, encoder.from.as_ref().map(|from| from.pip.clone()));
            }
            Err(Error::EncoderNotInstalled { .. }) => None,
            Err(Error::Checksum { file, .. } | Error::Read { file, .. })
                if Some(&file) == encoder.cached().as_ref() =>
            {
                Some("the one in the cache directory is damaged and is replaced".to_owned())
            }
            Err(error) => return self.fail(&what, None, &error.into()),
        };
        let item = encoder.from.as_ref().map(|package| Item::encoder(name, encoder, package));
        match item {
            Some(Ok(item)) => self.fetch(item, damaged),
            Some(Err(error)) => self.fail(&what, None, &error),
            None => self.fail(&what, None, &anyhow!("is not installed, and no package is named that contains it")),
        }
    }

    fn add_trainers_encoders(&mut self) {
        let Some(folder) = installation::source_tree().map(|tree| tree.join("trainer/encoders")) else { return };
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut files: Vec<_> = entries.filter(|file| file.extension().is_some_and(|end| end == "json")).collect();
        files.sort();
        for file in files {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match read_json::<Description>(&file, "a description of an encoder") {
                Ok(Description { encoder }) => self.add_encoder(&name, &encoder, &folder),
                Err(error) => self.fail(&name, Some(file), &error),
            }
        }
    }

    fn present(&mut self, what: &str, file: &Path, detail: Option<String>) {
        let (what, file) = (what.to_owned(), Some(file.to_owned()));
        self.add(Part { what, state: State::Present, file, bytes: None, detail });
    }

    fn fail(&mut self, what: &str, file: Option<PathBuf>, error: &anyhow::Error) {
        let detail = Some(format!("{error:#}"));
        self.add(Part { what: what.to_owned(), state: State::Failed, file, bytes: None, detail });
    }

    fn fetch(&mut self, item: Item, why: Option<String>) {
        // Bundles and descriptions may share a file.
        if self.fetch.iter().any(|other| other.target == item.target) {
            return;
        }
        let from = item.package();
        let detail = Some(why.map_or_else(|| from.to_owned(), |why| format!("{from}; {why}")));
        let (file, bytes) = (Some(item.target.clone()), Some(item.download_bytes()));
        self.add(Part { what: item.what.clone(), state: State::ToFetch, file, bytes, detail });
        self.fetch.push(item);
    }

    fn add(&mut self, part: Part) {
        // The source of a computed encoder may also be named.
        if !self.parts.iter().any(|other| other.what == part.what) {
            self.parts.push(part);
        }
    }
}

/// Whether this file holds the network that the description states.
pub(super) fn is_network(file: &Path, encoder: &EncoderFile) -> bool {
    file.is_file() && read_network(file).is_ok_and(|network| hex(&Sha256::digest(&network)) == encoder.sha256)
}

fn have_same_length(a: &Path, b: &Path) -> bool {
    let length = |file: &Path| file.metadata().ok().map(|metadata| metadata.len());
    length(a).is_some() && length(a) == length(b)
}

/// Copies a runtime to where programs elsewhere find it.
pub(super) fn copy_runtime(from: &Path) -> Result<()> {
    let cache = bundle::cache_dir().ok_or_else(no_cache_dir)?;
    let mut from = std::fs::File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    Item::runtime(&cache).save(&mut from)
}
