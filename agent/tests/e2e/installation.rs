//! Where the program looks for native code, bundles and pages, and what it says about libraries that it cannot use.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use landfall_model::bundle;
use landfall_model::runtime::{self, LIBRARY};
use serde_json::Value;

/// Runs a program in a directory with an empty cache, and returns its exit code, output and messages.
fn run(program: &Path, dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir);
    for name in ["ORT_DYLIB_PATH", "LANDFALL_BUNDLES", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"] {
        command.env_remove(name);
    }
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    (output.status.code(), out, err)
}

fn program() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_landfall"))
}

fn photo() -> String {
    crate::fixtures().join("rounds/rome-colosseum/view_000.jpg").canonicalize().unwrap().display().to_string()
}

/// A copy of the program in a directory of its own, as it would be installed.
fn installed() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("landfall");
    fs::copy(program(), &copy).unwrap();
    (dir, copy)
}

/// Everything that was ever looked for in the working directory or above it, in files that cannot be used.
fn hostile_folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let package = "node_modules/onnxruntime-node/bin/napi-v6";
    let files = [
        LIBRARY.to_owned(),
        format!(".runtime/{LIBRARY}"),
        format!("runtime/{LIBRARY}"),
        format!(".cache/landfall/runtime/{LIBRARY}"),
        format!("{package}/linux/x64/libonnxruntime.so.1"),
        format!("{package}/linux/arm64/libonnxruntime.so.1"),
        "pocket/bundle.json".to_owned(),
        "bundles/pocket/bundle.json".to_owned(),
        "model/bundles/pocket/bundle.json".to_owned(),
        "web/arena.html".to_owned(),
        "web-demo/dist/arena.html".to_owned(),
        "fixtures/rounds/one/round.json".to_owned(),
    ];
    for file in files.iter().map(|file| dir.path().join(file)) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "hostile").unwrap();
    }
    fs::create_dir_all(dir.path().join("onnxruntime/capi")).unwrap();
    fs::write(dir.path().join("onnxruntime/__init__.py"), "open(__file__ + '.ran', 'w')").unwrap();
    fs::write(dir.path().join("onnxruntime/capi").join(LIBRARY), "hostile").unwrap();
    fs::create_dir_all(dir.path().join("photos/2026")).unwrap();
    dir
}

fn finding(out: &str, what: &str) -> (bool, String) {
    let findings: Vec<Value> = serde_json::from_str(out).unwrap();
    let finding = findings.iter().find(|finding| finding["what"] == what).unwrap();
    (finding["ok"] == true, finding["detail"].as_str().unwrap().to_owned())
}

#[test]
fn nothing_is_loaded_from_the_working_directory_or_above_it() {
    let (home, copy) = installed();
    let hostile = hostile_folder();
    let cache = tempfile::tempdir().unwrap();
    let empty_cache = ("LANDFALL_CACHE", cache.path().to_str().unwrap());
    let no_bundles = ("LANDFALL_BUNDLES", "");
    for dir in [hostile.path().to_owned(), hostile.path().join("photos/2026")] {
        let (_, out, _) = run(&copy, &dir, &["doctor", "--json"], &[empty_cache, no_bundles]);
        assert!(!out.contains(hostile.path().to_str().unwrap()), "{out}");
        let (found, detail) = finding(&out, "ONNX Runtime");
        // With rten, the program runs pocket all the same.
        assert!(found == cfg!(feature = "rten") && detail.contains("not found in"), "{detail}");
        for searched in [home.path().canonicalize().unwrap(), cache.path().join("runtime")] {
            assert!(detail.contains(searched.to_str().unwrap()), "{detail}");
        }
        // A home directory that is the working directory is none.
        let relative_home = [("HOME", "."), ("LANDFALL_CACHE", ""), no_bundles];
        let (_, out, _) = run(&copy, &dir, &["doctor", "--json"], &relative_home);
        assert!(!finding(&out, "ONNX Runtime").1.contains(".cache"), "{out}");
        // The program where it was built works there as anywhere.
        let locate = ["locate", "--json", "--no-map", "--bundle", "pocket", &photo()];
        let (code, _, err) = run(program(), &dir, &locate, &[no_bundles]);
        assert_eq!(code, Some(0), "{err}");
    }
    assert!(!hostile.path().join("onnxruntime/__init__.py.ran").exists(), "Python has run a module of the folder");
    // What the user names is used.
    let (code, _, err) = run(program(), hostile.path(), &["locate", "--bundle", "./pocket", &photo()], &[]);
    assert!(code == Some(3) && err.contains("pocket/bundle.json: not a valid bundle description"), "{err}");
    let (code, _, err) = run(program(), hostile.path(), &["locate", "--bundle", "photos", &photo()], &[]);
    assert!(code == Some(2) && err.contains("a directory is given as a path, ./photos"), "{err}");
}

/// The answer for the photo, with what `-v` logs.
#[cfg(feature = "rten")]
fn located(program: &Path, dir: &Path, args: &[&str], environment: &[(&str, &str)]) -> (Value, String) {
    let photo = photo();
    let args = [&["locate", "-v", "--json", "--no-map", &photo], args].concat();
    let (code, out, err) = run(program, dir, &args, environment);
    assert_eq!(code, Some(0), "{err}");
    (serde_json::from_str(&out).unwrap(), err)
}

#[cfg(feature = "rten")]
#[test]
fn pocket_needs_no_onnx_runtime() {
    let (home, copy) = installed();
    let cache = tempfile::tempdir().unwrap();
    let bundles = crate::fixtures().join("../model/bundles/pocket");
    let target = home.path().join("bundles/pocket");
    fs::create_dir_all(&target).unwrap();
    for file in fs::read_dir(bundles).unwrap().map(|entry| entry.unwrap().path()) {
        fs::copy(&file, target.join(file.file_name().unwrap())).unwrap();
    }
    let environment = [("LANDFALL_CACHE", cache.path().to_str().unwrap())];
    let (without, log) = located(&copy, home.path(), &[], &environment);
    assert!(log.contains("using the pocket bundle") && log.contains("landfall setup"), "{log}");
    assert!(log.contains("engine=rten 0."), "{log}");
    let runtime = runtime::load_library().unwrap();
    let environment = [environment[0], ("ORT_DYLIB_PATH", runtime.file.to_str().unwrap())];
    let (with, log) = located(&copy, home.path(), &["--bundle", "pocket"], &environment);
    assert!(log.contains(&format!("engine=ONNX Runtime {}", runtime.version)), "{log}");
    assert_eq!(without["place"], with["place"]);
    let top = |answer: &Value| (answer["top"][0]["cell"].clone(), answer["top"][0]["p"].as_f64().unwrap());
    let ((cell, p), (other, q)) = (top(&without), top(&with));
    assert!(cell == other && (p - q).abs() < 1e-3, "{cell} {p}, {other} {q}");

    let environment = [("LANDFALL_CACHE", cache.path().to_str().unwrap())];
    let (_, out, _) = run(&copy, home.path(), &["doctor", "--json"], &environment);
    let (usable, detail) = finding(&out, "bundle pocket");
    assert!(usable && detail.contains(" cells, rten 0."), "{detail}");
}

#[cfg(unix)]
#[test]
fn doctor_says_which_library_is_loaded_and_why() {
    let runtime = runtime::load_library().unwrap();
    let (home, copy) = installed();
    let cache = tempfile::tempdir().unwrap();
    let cached = cache.path().join("runtime").join(LIBRARY);
    fs::create_dir(cached.parent().unwrap()).unwrap();
    let beside = home.path().canonicalize().unwrap().join(LIBRARY);
    let named = runtime.file.to_str().unwrap();
    let environment = [("LANDFALL_CACHE", cache.path().to_str().unwrap())];
    let doctor = |environment: &[(&str, &str)]| {
        let (_, out, _) = run(&copy, home.path(), &["doctor", "--json"], environment);
        finding(&out, "ONNX Runtime")
    };
    let expected = |why: &str, file: &Path| (true, format!("{} ({why}), {}", runtime.version, file.display()));
    std::os::unix::fs::symlink(&runtime.file, &cached).unwrap();
    assert_eq!(doctor(&environment), expected("in the user's cache directory", &cached));
    std::os::unix::fs::symlink(&runtime.file, &beside).unwrap();
    assert_eq!(doctor(&environment), expected("beside the program", &beside));
    let both = [environment[0], ("ORT_DYLIB_PATH", named)];
    assert_eq!(doctor(&both), expected("named by ORT_DYLIB_PATH", &runtime.file));
    let (_, text, _) = run(&copy, home.path(), &["doctor"], &environment);
    assert!(text.contains(&format!("(beside the program), {}", beside.display())), "{text}");
}

/// Builds a shared library from Rust source.
#[cfg(target_os = "linux")]
fn build(dir: &Path, name: &str, source: &str) -> PathBuf {
    let (code, library) = (dir.join(format!("{name}.rs")), dir.join(format!("lib{name}.so")));
    fs::write(&code, source).unwrap();
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--edition=2024", "--crate-type=cdylib", "-Cstrip=symbols", "-L"]).arg(dir).arg("-o").arg(&library);
    let output = rustc.arg(&code).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// Source of a library that says it is this version of ONNX Runtime, and knows no version of its API.
#[cfg(target_os = "linux")]
fn runtime_of_version(version: &str) -> String {
    format!(
        r#"
        #[repr(C)]
        pub struct Base {{ api: extern "C" fn(u32) -> *const u8, version: extern "C" fn() -> *const u8 }}
        extern "C" fn api(_: u32) -> *const u8 {{ std::ptr::null() }}
        extern "C" fn version() -> *const u8 {{ {version} }}
        static BASE: Base = Base {{ api, version }};
        #[unsafe(no_mangle)]
        pub extern "C" fn OrtGetApiBase() -> *const Base {{ &BASE }}
        "#
    )
}

#[cfg(target_os = "linux")]
#[test]
fn unusable_libraries_are_errors_that_say_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let write = |name: &str, bytes: &[u8]| {
        fs::write(at(name), bytes).unwrap();
        at(name)
    };
    let version = |name: &str, version: &str| {
        build(dir.path(), name, &runtime_of_version(&format!("c\"{version}\".as_ptr().cast()")))
    };
    let old = version("old", "1.20.1");
    build(dir.path(), "gone", "#[unsafe(no_mangle)] pub extern \"C\" fn gone() -> i32 { 1 }");
    let needs = "#[link(name = \"gone\")] unsafe extern \"C\" { fn gone() -> i32; } \
                 #[unsafe(no_mangle)] pub extern \"C\" fn here() -> i32 { unsafe { gone() } }";
    let needing = build(dir.path(), "needing", needs);
    fs::remove_file(at("libgone.so")).unwrap();
    let whole = fs::read(&old).unwrap();
    let mut foreign = whole.clone();
    foreign[18] = if cfg!(target_arch = "aarch64") { 62 } else { 183 }; // e_machine
    let lfs = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 21034567\n";
    std::os::unix::fs::symlink("/no/such/libonnxruntime.so", at("dangling.so")).unwrap();
    fs::create_dir(at("folder.so")).unwrap();
    let pip = "`pip install -U onnxruntime`";
    for (library, reasons) in [
        (old, vec!["it is ONNX Runtime 1.20.1", "version 1.24 or a newer 1.x is needed", pip]),
        (version("new", "1.99.0"), vec!["it is ONNX Runtime 1.99.0, which lacks the functions of version 1.24", pip]),
        (version("strange", "not a version"), vec!["states the version `not a version`", "1.24", pip]),
        (build(dir.path(), "null", &runtime_of_version("std::ptr::null()")), vec!["states the version ``"]),
        (build(dir.path(), "other", "pub fn other() {}"), vec!["not ONNX Runtime: it has no function OrtGetApiBase"]),
        (needing, vec!["needs the library libgone.so, which is not installed"]),
        (write("empty.so", b""), vec!["an empty file"]),
        (write("lfs.so", lfs), vec!["a Git LFS pointer"]),
        (write("foreign.so", &foreign), vec!["built for a", "and this program for"]),
        (write("cut-off.so", &whole[..4096]), vec!["it is cut off: 4096 bytes of at least"]),
        (write("end-is-missing.so", &whole[..whole.len() - 1]), vec!["it is cut off"]),
        (write("zeros.so", &[&whole[..4096], &vec![0; whole.len() - 4096]].concat()), vec!["it is damaged"]),
        (at("dangling.so"), vec!["a link to /no/such/libonnxruntime.so, which does not exist"]),
        (at("folder.so"), vec!["it is a directory"]),
        (at("nowhere.so"), vec!["there is no such file"]),
    ] {
        let library = library.to_str().unwrap();
        let locate = ["locate", "--bundle", "pocket", &photo()];
        let (code, out, err) = run(program(), dir.path(), &locate, &[("ORT_DYLIB_PATH", library)]);
        assert_eq!((code, &*out), (Some(3), ""), "{err}");
        assert!(err.contains(&format!("{library}: cannot be loaded as ONNX Runtime: ")), "{err}");
        assert!(reasons.iter().all(|reason| err.contains(reason)) && !err.contains("panicked"), "{library}: {err}");
        assert_eq!(err.lines().filter(|line| line.starts_with("landfall: ")).count(), 1, "{err}");
    }
    let locate = ["locate", "--bundle", "pocket", &photo()];
    let (code, _, err) = run(program(), dir.path(), &locate, &[("ORT_DYLIB_PATH", "libold.so")]);
    assert!(code == Some(3) && err.contains("give the path of the library"), "{err}");
}

/// ONNX Runtime would write a database and an identifier of the device, and send them, see [`runtime::TELEMETRY_OFF`].
#[cfg(unix)]
#[test]
fn onnx_runtime_reports_nothing() {
    let (library, cache) = (runtime::load_library().unwrap().file.as_path(), bundle::cache_dir().unwrap());
    let [home, temporary, dir] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [library, cache, home_dir, temporary_dir] =
        [library, &cache, home.path(), temporary.path()].map(|path| path.to_str().unwrap());
    let environment =
        [("ORT_DYLIB_PATH", library), ("LANDFALL_CACHE", cache), ("HOME", home_dir), ("TMPDIR", temporary_dir)];
    let (code, _, err) = run(program(), dir.path(), &["locate", "-v", "--bundle", "pocket", &photo()], &environment);
    assert!(code == Some(0) && err.contains("engine=ONNX Runtime"), "{err}");
    for folder in [home, temporary] {
        assert_eq!(fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).next(), None);
    }
}
