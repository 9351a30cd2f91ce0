//! With the feature `embed`: packs the pocket bundle, which becomes a part of the program.

#[cfg(not(feature = "embed"))]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
}

#[cfg(feature = "embed")]
fn main() -> std::io::Result<()> {
    use std::path::Path;

    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/bundles/pocket");
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| std::io::Error::other("OUT_DIR is not set"))?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", bundle.display());
    let archive = std::fs::File::create(Path::new(&out).join("pocket.tar.gz"))?;
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(archive, flate2::Compression::best()));
    let mut files = bundle.read_dir()?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>()?;
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
