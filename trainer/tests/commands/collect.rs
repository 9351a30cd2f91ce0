//! `collect` against stub servers of the services, with server failures and killed processes.

mod addresses;
mod faults;
mod hub;
mod stub;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use landfall_trainer::{Item, Status, read_manifest};
use sha2::{Digest, Sha256};
use stub::{DAY, KEY, Stub, T0};

fn command(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-train"));
    command
        .arg("-vv") // logs must not show keys either
        .arg("collect")
        .args(args.split_whitespace())
        .env("FLICKR_API_KEY", KEY)
        .env("GOOGLE_MAPS_API_KEY", KEY)
        .env("GOOGLE_MAPS_SIGNING_SECRET", stub::SIGNING_SECRET)
        .env("MAPILLARY_ACCESS_TOKEN", KEY);
    command
}

/// Runs a command to the end and checks that its output does not contain the API key.
fn run(args: &str) -> Output {
    let output = command(args).output().unwrap();
    let text = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(!text.contains(KEY), "{text}");
    output
}

fn run_ok(args: &str) -> String {
    let output = run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn run_err(args: &str, code: i32) -> String {
    let output = run(args);
    assert_eq!(output.status.code(), Some(code), "{args}: {output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Reads the manifest of a folder, by id, and checks that ids are unique and that the files match the manifest.
fn collected(dir: &Path) -> BTreeMap<String, Item> {
    let items = read_manifest(dir).unwrap();
    let count = items.len();
    for item in items.iter().filter(|item| item.status == Some(Status::Ok)) {
        let bytes = std::fs::read(dir.join(&item.file)).unwrap();
        let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(sha256, item.sha256, "{}", item.id);
        assert_eq!((item.width, item.height), (48, 40));
    }
    let by_id: BTreeMap<String, Item> = items.into_iter().map(|item| (item.id.clone(), item)).collect();
    assert_eq!(by_id.len(), count, "an image is listed twice in the manifest");
    let on_disk: HashSet<_> = files_below(&dir.join("pictures")).into_iter().collect();
    let listed: HashSet<_> =
        by_id.values().filter(|item| item.status == Some(Status::Ok)).map(|item| dir.join(&item.file)).collect();
    assert_eq!(on_disk, listed, "files and manifest differ");
    by_id
}

fn files_below(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Writes the queries for Flickr to a folder and returns the command line that collects their results.
fn flickr(stub: &Stub, dir: &Path, out: &str) -> String {
    std::fs::write(dir.join("queries.txt"), b"# caf\xe9s\nTokyo\n-party -people\n\nParis\n").unwrap();
    std::fs::write(dir.join("exclude.txt"), "11\nimages/12_abc_65535_someone@N00.jpg\n").unwrap();
    let (dir, base) = (dir.display(), &stub.base);
    format!(
        "flickr --queries {dir}/queries.txt --since {T0} --until {} --exclude {dir}/exclude.txt --first-span 2h \
         --api {base}/flickr --pictures {base}/photos/ --between 0 --first-wait 0.005 --out {dir}/{out}",
        T0 + 10 * DAY
    )
}

/// The expected outcome for the stub's photos: each found photo once, without excluded ones, the second photo of a
/// burst, and the one without coordinates.
fn expected() -> BTreeMap<String, Status> {
    let mut seconds = HashSet::new();
    let mut expected = BTreeMap::new();
    for photo in stub::photos().iter().filter(|photo| photo.text != "Burst" && ![10, 11, 12].contains(&photo.id)) {
        if !seconds.insert((photo.owner.clone(), photo.taken)) {
            continue;
        }
        let status = match stub::photo_kind(photo.id) {
            "ok" => Status::Ok,
            "not an image" => Status::Broken,
            _ => Status::Missing,
        };
        expected.insert(photo.id.to_string(), status);
    }
    expected
}

fn outcomes(items: &BTreeMap<String, Item>) -> BTreeMap<String, Status> {
    items.iter().map(|(id, item)| (id.clone(), item.status.unwrap())).collect()
}

#[test]
fn collect_flickr_finds_every_photo_once_despite_failures() {
    let dir = tempfile::tempdir().unwrap();
    let (reliable, faulty) = (Stub::start(false), Stub::start(true));
    let summary: serde_json::Value = serde_json::from_str(&run_ok(&format!(
        "{} --accept-terms flickr --json",
        flickr(&reliable, dir.path(), "reliable")
    )))
    .unwrap();
    let items = collected(&dir.path().join("reliable"));
    assert_eq!(outcomes(&items), expected());
    let kept = expected().values().filter(|status| **status == Status::Ok).count();
    assert_eq!((summary["kept"].as_u64(), summary["failed"].as_u64()), (Some(kept as u64), Some(0)), "{summary}");
    let one = &items["1"];
    assert_eq!((one.lat, one.licence.as_str(), one.heading), (Some(35.001), "CC BY 2.0", None));
    assert!(one.group.starts_with("flickr:1@N01:20") && one.url.ends_with("/65535/1_1_b.jpg"), "{one:?}");

    run_ok(&format!("{} --accept-terms flickr", flickr(&faulty, dir.path(), "faulty")));
    let again = collected(&dir.path().join("faulty"));
    let without_urls = |items: &BTreeMap<String, Item>| -> Vec<Item> {
        items.values().cloned().map(|item| Item { url: String::new(), ..item }).collect()
    };
    assert_eq!(without_urls(&again), without_urls(&items));

    // A second run does not search again.
    let searched = reliable.seen("flickr Tokyo -party -people");
    run_ok(&format!("{} --accept-terms flickr", flickr(&reliable, dir.path(), "reliable")));
    assert_eq!(reliable.seen("flickr Tokyo -party -people"), searched);
    assert_eq!(collected(&dir.path().join("reliable")), items);
}

#[test]
fn collect_flickr_resumes_after_kills() {
    let dir = tempfile::tempdir().unwrap();
    let stub = Stub::start(true);
    // Slow enough for ten kills on any machine.
    let slow = flickr(&stub, dir.path(), "killed").replace("--between 0 ", "--between 0.003 ");
    let args = format!("{slow} --accept-terms flickr --workers 3");
    let (mut killed, mut random) = (0, 7u64);
    while killed < 10 {
        let mut child = command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(Duration::from_millis(40 + (random >> 33) % 160));
        // SIGKILL cannot be handled.
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            break;
        }
        killed += 1;
    }
    assert!(killed > 3, "finished after {killed} kills");
    run_ok(&args);
    let out = dir.path().join("killed");
    assert_eq!(outcomes(&collected(&out)), expected());
}

#[test]
fn collect_flickr_reports_failed_images_and_retries_them() {
    let dir = tempfile::tempdir().unwrap();
    let stub = Stub::start(false);
    let working = format!("{} --accept-terms flickr", flickr(&stub, dir.path(), "failing"));
    let stderr = run_err(&working.replace("/photos/", "/failing/"), 3);
    assert!(stderr.contains("images failed; run the same command again to retry them"), "{stderr}");
    let out = dir.path().join("failing");
    let is_failing = |id: &String| id.parse::<u64>().unwrap().is_multiple_of(7);
    let rest: BTreeMap<_, _> = expected().into_iter().filter(|(id, _)| !is_failing(id)).collect();
    assert_eq!(outcomes(&collected(&out)), rest);
    run_ok(&working);
    assert_eq!(outcomes(&collected(&out)), expected());
}

#[test]
fn collect_flickr_dry_run_and_errors() {
    let dir = tempfile::tempdir().unwrap();
    let stub = Stub::start(false);
    let args = flickr(&stub, dir.path(), "out");
    let plan = run_ok(&format!("{args} --dry-run"));
    assert!(plan.contains("2 queries, 10 days") && plan.contains("cost: nothing"), "{plan}");
    assert!(plan.contains("all rights reserved") && plan.contains("--accept-terms flickr"), "{plan}");
    let plan: serde_json::Value = serde_json::from_str(&run_ok(&format!("{args} --dry-run --json"))).unwrap();
    assert_eq!(plan["terms"]["name"], "flickr", "{plan}");
    assert!(plan["plan"][0].as_str().is_some_and(|line| line.starts_with("2 queries, 10 days")), "{plan}");
    assert!(!dir.path().join("out").exists(), "a dry run writes nothing");
    assert!(run_err(&args, 2).contains("--accept-terms flickr"));

    // The search must end even if one second has more photos than a query returns.
    std::fs::write(dir.path().join("queries.txt"), "Burst\n-party\n").unwrap();
    let base = &stub.base;
    let burst = format!(
        "flickr --queries {0}/queries.txt --since {1} --until {2} --api {base}/flickr --pictures {base}/photos/ \
         --first-hours 4 --between 0 --first-wait 5ms --accept-terms flickr --out {0}/burst",
        dir.path().display(),
        T0 + 5 * DAY - 4000,
        T0 + 5 * DAY + 10,
    );
    run_ok(&format!("{burst} --limit 330"));
    let items = collected(&dir.path().join("burst"));
    let kept = items.values().filter(|item| item.status == Some(Status::Ok)).count();
    assert_eq!(kept, 330, "the limit holds");
    let early = items.values().filter(|item| item.id.parse::<u64>().unwrap() > 4_817).count();
    assert_eq!(early, 200 - 200 / 40, "all photos before the burst, without duplicates");

    std::fs::write(dir.path().join("key"), "no-key\n").unwrap();
    let wrong = run_err(&format!("{burst} --limit 900 --key-file {}/key", dir.path().display()), 2);
    assert!(wrong.contains("error 100: Invalid API Key") && !wrong.contains("no-key"), "{wrong}");
    let gone = run_err(&burst.replace(base, "http://127.0.0.1:9").replace("burst", "gone"), 3);
    assert!(gone.contains("cannot be reached"), "{gone}");
}

#[test]
fn collect_streetview_stays_within_the_budget() {
    let dir = tempfile::tempdir().unwrap();
    let stub = Stub::start(true);
    let points: String = (0..10).chain([14, 16]).map(|lng| format!("10.5,{lng}\n")).collect();
    std::fs::write(dir.path().join("points.csv"), format!("lat,lng\n{points}")).unwrap();
    let args = format!(
        "streetview --points {0}/points.csv --api {1}/streetview --between 0 --first-wait 0.005 --out {0}/out",
        dir.path().display(),
        stub.base
    );
    let plan = run_ok(&format!("{args} --dry-run"));
    assert!(plan.contains("9 of the first 12 have a panorama"), "{plan}");
    assert!(plan.contains("36 views") && plan.contains("cost: $0.25 at $7"), "{plan}");
    assert!(plan.contains("--accept-terms google") && stub.seen("view") == 0, "{plan}");
    assert!(run_err(&format!("{args} --max-cost 1"), 2).contains("--accept-terms google"));
    assert!(run_err(&format!("{args} --accept-terms google"), 2).contains("--max-cost"));

    let stopped = run_err(&format!("{args} --accept-terms google --max-cost 0.07"), 2);
    assert!(stopped.contains("--max-cost 0.07"), "{stopped}");
    // Failed requests cost money too.
    assert!(stub.seen("view") <= 10 && collected(&dir.path().join("out")).len() <= 10, "{}", stub.seen("view"));
    assert!(!collected(&dir.path().join("out")).is_empty());
    let summary = run_ok(&format!("{args} --accept-terms google --max-cost 5 --json"));
    let items = collected(&dir.path().join("out"));
    // Of twelve places, two have no panorama, one has a user's, and two share one: eight panoramas.
    assert_eq!(items.len(), 8 * 4, "{summary}");
    let missing: Vec<&String> =
        items.values().filter(|item| item.status == Some(Status::Missing)).map(|item| &item.id).collect();
    assert_eq!(missing, ["dateless16_270", "dateless6_270"]);
    let one = &items["pano-7_x_90"];
    assert_eq!((one.lat, one.lng, one.heading), (Some(10.5001), Some(7.0), Some(90.0)), "the panorama's place");
    assert_eq!((one.group.as_str(), one.time.as_str()), ("pano:pano-7_x", "2016-05"));
    assert!(one.url.contains("key=HIDDEN") && one.url.contains("signature=HIDDEN"), "{}", one.url);
    assert!(
        run_err(&args.replacen("streetview --", "streetview --max-cost 1 --key-file Cargo.toml --", 1), 2)
            .contains("contains whitespace")
    );
}

#[test]
fn collect_mapillary_splits_dense_boxes() {
    let dir = tempfile::tempdir().unwrap();
    let stub = Stub::start(false);
    let args = format!(
        "mapillary --box 10,50,10.08,50.08 --api {}/mapillary --between 0 --first-wait 0.005 --accept-terms mapillary \
         --out {}/out",
        stub.base,
        dir.path().display()
    );
    let plan = run_ok(&format!("{args} --dry-run"));
    assert!(plan.contains("1 boxes") && plan.contains("CC BY-SA 4.0"), "{plan}");
    run_ok(&args);
    let items = collected(&dir.path().join("out"));
    assert_eq!(items.len(), 50, "one of each sequence");
    // The first image of the sequence is a panorama; the next by id has computed coordinates, which take precedence.
    let one = &items["m101"];
    assert!((one.lng.unwrap() - (10.0 + 1.0 / 50.0 * 0.01 + 0.001)).abs() < 1e-9, "{one:?}");
    assert_eq!((one.heading, one.group.as_str(), one.licence.as_str()), (Some(349.5), "mapillary:s1", "CC BY-SA 4.0"));
    assert_eq!(one.url, "https://graph.mapillary.com/m101");
    assert!(one.attribution.starts_with("walker on Mapillary"));

    // The URL of one image has expired; the next run gets a new one.
    let all = format!("{} --whole-sequences", args.replace("/out", "/all"));
    assert!(run_err(&all, 3).contains("1 images failed"));
    assert_eq!(collected(&dir.path().join("all")).len(), 4_950 - 1);
    run_ok(&all);
    let ids: BTreeSet<String> = collected(&dir.path().join("all")).into_keys().collect();
    let is_panorama = |id: &String| id[1..].parse::<u64>().unwrap().is_multiple_of(100);
    assert!(ids.len() == 4_950 && !ids.iter().any(is_panorama));

    std::fs::write(dir.path().join("key"), "another").unwrap();
    let refused = run_err(&format!("{} --key-file {}/key", args.replace("/out", "/no"), dir.path().display()), 2);
    assert!(refused.contains("Invalid OAuth access token"), "{refused}");
}

#[test]
fn collect_kartaview_reads_all_pages() {
    let dir = tempfile::tempdir().unwrap();
    let stub = Stub::start(true);
    std::fs::write(dir.path().join("points.csv"), "lat,lng\n1.3,103.8\n").unwrap();
    let args = format!(
        "kartaview --points {0}/points.csv --api {1}/kartaview --between 0 --first-wait 0.005 --accept-terms kartaview \
         --out {0}/out",
        dir.path().display(),
        stub.base
    );
    run_ok(&format!("{args} --whole-sequences"));
    let items = collected(&dir.path().join("out"));
    assert_eq!(items.len(), 130 - 13, "all pages, without spheres");
    assert_eq!((items["9000"].heading, items["9004"].heading), (Some(192.5), None));
    run_ok(&args.replace("/out", "/one"));
    assert_eq!(collected(&dir.path().join("one")).len(), 10, "one of each sequence");
    std::fs::write(dir.path().join("points.csv"), "lat,lng\n-1.3,103.8\n").unwrap();
    let refused = run_err(&args, 2);
    assert!(refused.contains("code 601: The request has invalid parameters"), "{refused}");
}

#[test]
fn collect_osv5m_reads_archives_and_does_not_unpack_them() {
    let dir = tempfile::tempdir().unwrap();
    let table: String = (0..700)
        .map(|i| format!("{i},{},{},seq{},FR,walker,1500000000000\n", 40.0 + f64::from(i) / 100.0, 5, i / 9))
        .collect();
    // Columns are found by name: there are fewer than in the real table, in another order.
    let header = "id,latitude,longitude,sequence,country,creator_username,captured_at\n";
    std::fs::write(dir.path().join("train.csv"), format!("{header}{table}")).unwrap();
    let mut zip = zip::ZipWriter::new(std::fs::File::create(dir.path().join("00 a.zip")).unwrap());
    for i in (0..650).rev() {
        zip.start_file(format!("00/{i}.jpg"), zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, &stub::jpeg(i)).unwrap();
    }
    zip.start_file("00/unknown.jpg", zip::write::SimpleFileOptions::default()).unwrap();
    zip.finish().unwrap();
    let run = |more: &[&str]| {
        let mut command = command("osv5m --accept-terms osv5m --labels");
        command.arg(dir.path().join("train.csv")).arg("--out").arg(dir.path().join("out")).args(more);
        command.arg(dir.path().join("00 a.zip")).output().unwrap()
    };
    let plan = run(&["--dry-run"]);
    assert!(String::from_utf8_lossy(&plan.stdout).contains("1 archives with 650 images"), "{plan:?}");
    assert!(run(&["--limit", "30"]).status.success());
    assert_eq!(collected(&dir.path().join("out")).len(), 30);
    assert!(run(&[]).status.success());
    let items = collected(&dir.path().join("out"));
    assert_eq!(items.len(), 650);
    let one = &items["618"];
    assert_eq!((one.lat, one.group.as_str(), one.iso2.as_str()), (Some(46.18), "mapillary:seq68", "FR"));
    std::fs::write(dir.path().join("train.csv"), "id,lat\n").unwrap();
    let wrong = run(&[]);
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no column `latitude`"), "{wrong:?}");
}

#[test]
fn collect_osv5m_downloads_archives_despite_failures() {
    let dir = tempfile::tempdir().unwrap();
    let mut table = "id,latitude,longitude,sequence,country,creator_username,captured_at\n".to_owned();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for i in 0..300 {
        table += &format!("{i},{},5,seq{i},FR,walker,1500000000000\n", 40.0 + i as f64 / 100.0);
        zip.start_file(format!("03/{i}.jpg"), zip::write::SimpleFileOptions::default()).unwrap();
        std::io::Write::write_all(&mut zip, &stub::jpeg(i)).unwrap();
    }
    let files = [("test.csv", table.into_bytes()), ("images/test/03.zip", zip.finish().unwrap().into_inner())];
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
    let hub = hub::Hub::start(files.map(|(name, bytes)| (name.to_owned(), bytes)).into());
    let out = dir.path().join("out");
    let (base, to) = (&hub.base, out.display());
    let args = format!("osv5m test/03 --hub {base} --between 0 --first-wait 0.005 --out {to}");
    let plan = run_ok(&format!("{args} --dry-run"));
    assert!(plan.contains("images/test/03.zip, ") && plan.contains("cost: nothing"), "{plan}");
    assert!(!out.exists() && hub.served() <= 2, "a dry run fetches nothing");
    let args = format!("{args} --accept-terms osv5m");
    assert!(run_err(&args.replace("test/03", "test/three"), 2).contains("neither a file nor an archive of the hub"));
    assert!(run_err(&args.replace("test/03", "test/04"), 2).contains("404"));

    hub.refuse(true);
    let before = hub.served();
    assert!(run_err(&args, 2).contains("403"));
    let part = out.join("hub/images/test/03.zip.part");
    assert!(std::fs::metadata(&part).unwrap().len() > 0 && !part.with_extension("").exists());
    hub.refuse(false);
    run_ok(&args);
    assert_eq!(hub.served() - before, bytes, "no byte is sent twice");
    let items = collected(&out);
    assert_eq!((items.len(), items["299"].lat), (300, Some(42.99)));
}

#[test]
fn collect_folder_imports_images_with_coordinates() {
    let dir = tempfile::tempdir().unwrap();
    let photos = dir.path().join("photos");
    std::fs::create_dir_all(photos.join("more")).unwrap();
    for (i, name) in ["a.jpg", "more/a.jpg", "b.jpg"].iter().enumerate() {
        std::fs::write(photos.join(name), stub::jpeg(i as u64)).unwrap();
    }
    std::fs::write(photos.join("c.jpg"), "not an image").unwrap();
    let table = "file,lat,lng,iso2,group\na.jpg,45.7,4.8,,walk\nmore/a.jpg,,,JP,\nc.jpg,1,2,,\n";
    std::fs::write(dir.path().join("places.csv"), table).unwrap();
    let args =
        format!("folder {0}/photos --places {0}/places.csv --licence CC0 --out {0}/photos/out", dir.path().display());
    assert!(run_ok(&format!("{args} --dry-run")).contains("4 images"));
    run_ok(&args);
    run_ok(&args);
    let items = collected(&photos.join("out"));
    assert_eq!(items.keys().collect::<Vec<_>>(), ["a.jpg", "c.jpg", "more/a.jpg"]);
    assert_eq!(
        (items["a.jpg"].lat, items["a.jpg"].group.as_str(), items["a.jpg"].licence.as_str()),
        (Some(45.7), "walk", "CC0")
    );
    assert_eq!((items["more/a.jpg"].lat, items["more/a.jpg"].iso2.as_str()), (None, "JP"));
    assert_eq!(items["c.jpg"].status, Some(Status::Broken));

    std::fs::write(dir.path().join("places.csv"), "file,lat,lng\na.jpg,95,4.8\n").unwrap();
    assert!(run_err(&args, 2).contains("places.csv, line 2"));
    std::fs::write(dir.path().join("places.csv"), "file,lat,lng\nz.jpg,5,4.8\n").unwrap();
    assert!(run_err(&args, 2).contains("such as z.jpg"));
    // Without a table, coordinates are read from EXIF data.
    let exif = format!("folder {0}/photos --out {0}/exif", dir.path().display());
    assert!(run_ok(&format!("{exif} --dry-run")).contains("0 of them with coordinates"));
}
