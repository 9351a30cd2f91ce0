//! Tells the crate where cargo builds it, for `src/installation.rs`.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // OUT_DIR is PROFILE_DIR/build/landfall-model-HASH/out. Programs and tests are written to PROFILE_DIR and below.
    let out_dir = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
    if let Some(profile_dir) = out_dir.ancestors().nth(3) {
        println!("cargo::rustc-env=LANDFALL_PROFILE_DIR={}", profile_dir.display());
    }
}
