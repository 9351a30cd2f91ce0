//! With the feature `embed`: packs the pocket bundle, the web pages and a few rounds, which become a part of the program.

#[cfg(not(feature = "embed"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}

#[cfg(feature = "embed")]
fn main() -> std::io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    embed::bundle()?;
    embed::files()
}

#[cfg(feature = "embed")]
mod embed {
    use std::collections::BTreeMap;
    use std::fmt::Write;
    use std::io::{Error, Result};
    use std::path::{Path, PathBuf};

    use brotli::enc::BrotliEncoderParams;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    /// The names of the embedded rounds.
    const ROUNDS: &str = "fixtures/embedded.txt";

    fn tree() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    fn out() -> Result<PathBuf> {
        Ok(std::env::var_os("OUT_DIR").ok_or_else(|| Error::other("OUT_DIR is not set"))?.into())
    }

    /// Writes the bundle as `pocket.tar.gz`.
    pub(super) fn bundle() -> Result<()> {
        let bundle = tree().join("model/bundles/pocket");
        println!("cargo::rerun-if-changed={}", bundle.display());
        let archive = std::fs::File::create(out()?.join("pocket.tar.gz"))?;
        let mut archive = tar::Builder::new(GzEncoder::new(archive, Compression::best()));
        let mut files = bundle.read_dir()?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
        files.sort();
        for file in files {
            let bytes = std::fs::read(&file)?;
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            let name = file.file_name().unwrap_or_default();
            archive.append_data(&mut header, name, bytes.as_slice())?;
        }
        archive.into_inner()?.finish()?.sync_all()
    }

    /// Writes `files.rs`: the tables of the pages' and the rounds' files, sorted by name.
    pub(super) fn files() -> Result<()> {
        let (mut blobs, mut code) = (Vec::new(), String::new());
        for (table, files) in [("PAGES", pages()?), ("ROUNDS", rounds()?)] {
            _ = writeln!(code, "pub(super) static {table}: &[File] = &[");
            for (name, file) in files {
                let failed = |error| Error::other(format!("cannot read {}: {error}", file.display()));
                let contents = std::fs::read(&file).map_err(failed)?;
                // The pages show images of the rounds, which are stored once.
                let id = blobs.iter().position(|known| *known == contents).unwrap_or_else(|| {
                    blobs.push(contents);
                    blobs.len() - 1
                });
                _ = writeln!(code, "    File {{ name: {name:?}, contents: &BLOB_{id} }},");
            }
            _ = writeln!(code, "];");
        }
        for (id, contents) in blobs.iter().enumerate() {
            let file = out()?.join(format!("blob-{id}"));
            let compressed = brotli(contents)?;
            // What is compressed already stays as it is.
            let is_brotli = compressed.len() < contents.len() / 10 * 9;
            std::fs::write(&file, if is_brotli { &compressed } else { contents })?;
            _ = writeln!(
                code,
                "static BLOB_{id}: Contents = Contents {{ is_brotli: {is_brotli}, bytes: include_bytes!({file:?}) }};"
            );
        }
        std::fs::write(out()?.join("files.rs"), code)
    }

    /// Compresses with Brotli, which all browsers decode: a release as well as possible, in minutes; others in seconds.
    fn brotli(contents: &[u8]) -> Result<Vec<u8>> {
        println!("cargo::rerun-if-env-changed=LANDFALL_STANDALONE");
        let quality = if std::env::var_os("LANDFALL_STANDALONE").is_some() { 11 } else { 5 };
        let params = BrotliEncoderParams { quality, lgwin: 24, size_hint: contents.len(), ..Default::default() };
        let mut compressed = Vec::new();
        brotli::BrotliCompress(&mut &*contents, &mut compressed, &params)?;
        Ok(compressed)
    }

    /// The built pages: those in `LANDFALL_PAGES`, or in the checkout. Not their bundles, which are served from their own
    /// directory.
    fn pages() -> Result<BTreeMap<String, PathBuf>> {
        println!("cargo::rerun-if-env-changed=LANDFALL_PAGES");
        let dir = std::env::var_os("LANDFALL_PAGES").map_or_else(|| tree().join("web-demo/dist"), PathBuf::from);
        println!("cargo::rerun-if-changed={}", dir.display());
        let mut files = BTreeMap::new();
        if dir.is_dir() {
            add_files(&dir, "", &mut files)?;
        }
        files.retain(|name, _| !name.starts_with("bundles/"));
        match ["arena.html", "index.html", "review.html", "sw.js"].iter().find(|name| !files.contains_key(**name)) {
            None => Ok(files),
            Some(missing) => Err(Error::other(format!(
                "the feature `embed` needs the built web pages, but {} has no {missing}: run `cargo xtask setup`, or `npm ci` and `npm run build` in web-demo",
                dir.display()
            ))),
        }
    }

    fn add_files(dir: &Path, prefix: &str, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
        for entry in dir.read_dir()? {
            let entry = entry?;
            let name =
                entry.file_name().into_string().map_err(|name| Error::other(format!("{name:?} is not UTF-8")))?;
            match entry.file_type()?.is_dir() {
                true => add_files(&entry.path(), &format!("{prefix}{name}/"), files)?,
                false => drop(files.insert(format!("{prefix}{name}"), entry.path())),
            }
        }
        Ok(())
    }

    /// Of each listed round the record, the credits and the image that the arena shows, as `NAME/FILE`.
    fn rounds() -> Result<BTreeMap<String, PathBuf>> {
        let (list, fixtures) = (tree().join(ROUNDS), tree().join("fixtures/rounds"));
        println!("cargo::rerun-if-changed={}", list.display());
        let mut files = BTreeMap::new();
        for name in std::fs::read_to_string(&list)?.lines().filter(|line| !line.starts_with('#')) {
            let dir = fixtures.join(name);
            println!("cargo::rerun-if-changed={}", dir.display());
            let image = if dir.join("pano.jpg").is_file() { "pano.jpg" } else { "view_000.jpg" };
            for file in ["round.json", "CREDITS", image] {
                files.insert(format!("{name}/{file}"), dir.join(file));
            }
        }
        Ok(files)
    }
}
