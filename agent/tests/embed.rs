//! The program alone, without a checkout and without bundles: the pocket bundle inside it (feature `embed`).
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

struct Alone {
    dir: tempfile::TempDir,
}

impl Alone {
    /// A copy of the program that does not find the source tree that it was built from: it looks there only if both have the
    /// same owner. None where the owner cannot be changed.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("landfall");
        fs::copy(env!("CARGO_BIN_EXE_landfall"), &program).unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        match std::os::unix::fs::chown(&program, Some(12_345), None) {
            Ok(()) => Some(Self { dir }),
            Err(why) => {
                eprintln!("skipped: only root can give a file to another user: {why}");
                None
            }
        }
    }

    fn bundle(&self) -> PathBuf {
        self.dir.path().join("cache/bundles/pocket")
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        let mut landfall = Command::new(self.dir.path().join("landfall"));
        landfall.args(args).current_dir(self.dir.path().join("empty"));
        landfall.env_remove("LANDFALL_BUNDLES").env("LANDFALL_CACHE", self.dir.path().join("cache"));
        landfall.env("ORT_DYLIB_PATH", &landfall_model::runtime::load_library().unwrap().file);
        let output = landfall.output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), out, err)
    }
}

fn photo() -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    fixtures.join("rounds/rome-colosseum/view_000.jpg").canonicalize().unwrap().display().to_string()
}

fn top(out: &str) -> Value {
    serde_json::from_str::<Value>(out).unwrap()["top"].clone()
}

#[test]
fn the_pocket_bundle_is_unpacked_when_it_is_needed() {
    let Some(alone) = Alone::new() else { return };
    let locate = ["locate", "--json", "--bundle", "pocket", &photo()];
    let (code, out, err) = alone.run(&locate);
    assert_eq!(code, Some(0), "{err}");
    let in_place = Command::new(env!("CARGO_BIN_EXE_landfall")).args(locate).output().unwrap();
    assert_eq!(top(&out), top(&String::from_utf8(in_place.stdout).unwrap()));
    // The source tree, which has more bundles, was not found.
    let (_, out, _) = alone.run(&["bundle", "list", "--json"]);
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1, "{list}");
    assert_eq!((&list[0]["dir"], &list[0]["complete"]), (&alone.bundle().to_str().unwrap().into(), &true.into()));
    // It is the default where desktop is not installed.
    let (code, out, err) = alone.run(&["locate", "--json", &photo()]);
    assert!(code == Some(0) && err.contains("using the pocket bundle") && out.contains("pocket@"), "{err}");
    assert_eq!(fs::read_dir(alone.dir.path().join("empty")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(alone.bundle().parent().unwrap()).unwrap().count(), 1, "no temporary directory is left");
}

#[test]
fn an_unpacked_bundle_is_repaired_replaced_and_removed_but_not_one_of_the_user() {
    let Some(alone) = Alone::new() else { return };
    let verify = || alone.run(&["bundle", "verify"]);
    assert_eq!(verify().0, Some(0));
    let at = |name: &str| alone.bundle().join(name);
    fs::write(at("head.onnx"), "damaged").unwrap();
    let (code, out, _) = verify();
    assert!(code == Some(1) && out.contains("`landfall bundle pull pocket`"), "{out}");
    let (code, out, err) = alone.run(&["bundle", "pull", "pocket"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(verify().0, Some(0));
    // One that another version of the program has unpacked.
    fs::write(at("embedded"), "older").unwrap();
    fs::write(at("MODEL_CARD.md"), "older").unwrap();
    assert_eq!(verify().0, Some(0));
    assert_ne!(fs::read_to_string(at("MODEL_CARD.md")).unwrap(), "older");
    // Files of the user stay.
    fs::write(at("embedded"), "older").unwrap();
    fs::write(at("notes.txt"), "mine").unwrap();
    let (_, _, err) = alone.run(&["bundle", "list"]);
    assert!(err.contains("holds files that Landfall has not written"), "{err}");
    assert_eq!(fs::read_dir(alone.bundle()).unwrap().count(), 1);
    fs::remove_dir_all(alone.bundle()).unwrap();
    assert_eq!(verify().0, Some(0));
    // One without the marker is the user's.
    fs::remove_file(at("embedded")).unwrap();
    fs::write(at("MODEL_CARD.md"), "mine").unwrap();
    assert_eq!(alone.run(&["bundle", "pull", "pocket"]).0, Some(0));
    assert_eq!(alone.run(&["bundle", "remove", "pocket"]).0, Some(0));
    assert_eq!(fs::read_to_string(at("MODEL_CARD.md")).unwrap(), "mine");
    fs::remove_dir_all(alone.bundle()).unwrap();
    let (code, out, _) = alone.run(&["bundle", "remove", "pocket"]);
    assert!(code == Some(0) && out.contains("deleted: ") && !alone.bundle().exists(), "{out}");
}
