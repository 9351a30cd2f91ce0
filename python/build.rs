//! Copies the pocket bundle to where maturin looks for it (`include` in pyproject.toml).

use std::path::Path;

fn main() -> std::io::Result<()> {
    let bundle = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/bundles/pocket");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={}", bundle.display());
    let out = std::env::var_os("OUT_DIR").ok_or_else(|| std::io::Error::other("OUT_DIR is not set"))?;
    let target = Path::new(&out).join("bundles/pocket");
    if target.exists() {
        std::fs::remove_dir_all(&target)?;
    }
    std::fs::create_dir_all(&target)?;
    for entry in bundle.read_dir()? {
        let entry = entry?;
        std::fs::copy(entry.path(), target.join(entry.file_name()))?;
    }
    Ok(())
}
