//! The program alone, without a checkout: the pocket bundle, the web pages and the rounds inside it (feature `embed`).
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

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

    fn landfall(&self, args: &[&str]) -> Command {
        let mut landfall = Command::new(self.dir.path().join("landfall"));
        landfall.args(args).current_dir(self.dir.path().join("empty"));
        landfall.env_remove("LANDFALL_BUNDLES").env("LANDFALL_CACHE", self.dir.path().join("cache"));
        landfall.env("ORT_DYLIB_PATH", &landfall_model::runtime::load_library().unwrap().file);
        landfall
    }

    fn run(&self, args: &[&str]) -> (Option<i32>, String, String) {
        Self::output(&mut self.landfall(args))
    }

    fn output(landfall: &mut Command) -> (Option<i32>, String, String) {
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
    // It is the default where desktop is not installed, and the error for one that is wanted says where there is one.
    let (code, out, err) = alone.run(&["locate", "--json", &photo()]);
    assert!(code == Some(0) && err.is_empty() && out.contains("pocket@"), "{err}");
    let (code, _, err) = alone.run(&["bundle", "pull", "desktop"]);
    let place = alone.bundle().with_file_name("desktop");
    assert!(code == Some(2) && err.contains(&format!("bundles/desktop to {}", place.display())), "{err}");
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
    // Commands that load it do not stop, whatever is damaged.
    for (file, contents) in [("head.onnx", "damaged"), ("encoder.onnx", ""), ("cells.json", "{}"), ("bundle.json", "{")]
    {
        fs::write(at(file), contents).unwrap();
        let (code, out, err) = alone.run(&["locate", "--json", &photo()]);
        assert!(code == Some(0) && out.contains("pocket@"), "{file}: {err}");
        assert_eq!(verify().0, Some(0), "{file}");
    }
    fs::remove_file(at("head.onnx")).unwrap();
    assert_eq!(alone.run(&["locate", "--json", &photo()]).0, Some(0));
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

#[test]
fn without_a_directory_to_unpack_into_the_bundle_is_used_from_memory() {
    let Some(alone) = Alone::new() else { return };
    let locate = ["locate", "--json", "--bundle", "pocket", &photo()];
    let (_, unpacked, _) = alone.run(&locate);
    let file = alone.dir.path().join("file");
    fs::write(&file, "").unwrap();
    let (code, out, err) = Alone::output(alone.landfall(&locate).env("LANDFALL_CACHE", file.join("cache")));
    assert!(code == Some(0) && err.contains("is unpacked into memory at each start"), "{err}");
    assert_eq!(top(&out), top(&unpacked));
    let (code, out, _) = Alone::output(alone.landfall(&["bundle", "list", "--json"]).env("LANDFALL_CACHE", &file));
    let list: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &list[0]["complete"]), (Some(0), &true.into()), "{list}");
    let (code, out, _) = Alone::output(alone.landfall(&["bundle", "verify"]).env("LANDFALL_CACHE", &file));
    assert_eq!(code, Some(0), "{out}");
}

#[test]
fn the_arena_and_the_phone_page_need_no_other_file() {
    let Some(alone) = Alone::new() else { return };
    for (args, page) in [
        (&["arena", "--port", "0", "--json"][..], "arena"),
        (&["serve", "--http", "--listen", "127.0.0.1:0", "--json"], "index"),
    ] {
        let mut server = alone.landfall(args).stdout(Stdio::piped()).spawn().unwrap();
        // Read to the end of the object: a program whose output is closed stops.
        let lines = BufReader::new(server.stdout.take().unwrap()).lines().map(Result::unwrap);
        let about: String = lines.take_while(|line| line != "}").collect();
        let port = about.split_once("http://127.0.0.1:").unwrap().1.split('/').next().unwrap();
        let host = format!("127.0.0.1:{port}");
        let get = |path: &str| {
            let mut connection = TcpStream::connect(&host).unwrap();
            write!(connection, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
            let mut response = Vec::new();
            connection.read_to_end(&mut response).unwrap();
            String::from_utf8_lossy(&response).into_owned()
        };
        let html = get("/");
        assert!(html.starts_with("HTTP/1.1 200"), "{html}");
        let script = html.split('"').find(|part| part.contains(&format!("assets/{page}-")) && part.ends_with(".js"));
        let script = get(&format!("/{}", script.unwrap().trim_start_matches(['.', '/'])));
        assert!(script.starts_with("HTTP/1.1 200") && script.contains("text/javascript"), "{}", &script[..500]);
        assert!(get("/nothing").starts_with("HTTP/1.1 404"));
        if page == "arena" {
            let list =
                fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/embedded.txt")).unwrap();
            let rounds = list.lines().filter(|line| !line.starts_with('#')).count();
            assert!(get("/api/maps/arena").contains(&format!("\"places\":{rounds},")), "{}", get("/api/maps/arena"));
        } else {
            assert!(get("/bundles/pocket/bundle.json").starts_with("HTTP/1.1 200"));
        }
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
