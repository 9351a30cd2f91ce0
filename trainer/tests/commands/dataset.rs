//! The workflow from a folder of photos to an evaluation: `collect`, `index`, `shard`, `embed` and `evaluate`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::Ordering;

mod bucket;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn run(dir: &Path, args: &str) -> Output {
    let args = args.replace("DIR", &dir.display().to_string());
    let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-train"));
    command.args(args.split_whitespace()).current_dir(workspace()).output().unwrap()
}

fn run_ok(dir: &Path, args: &str) -> String {
    let output = run(dir, args);
    assert!(output.status.success(), "{args}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Writes the images of the fixtures to a folder, with a table of their coordinates, one duplicate and one grey image.
fn write_photos(dir: &Path) -> usize {
    let (photos, mut table) = (dir.join("photos"), String::from("file,lat,lng,group,licence\n"));
    std::fs::create_dir(&photos).unwrap();
    let mut rounds: Vec<PathBuf> =
        workspace().join("fixtures/rounds").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    rounds.sort();
    let mut count = 0;
    for round in &rounds {
        let truth: serde_json::Value =
            serde_json::from_slice(&std::fs::read(round.join("round.json")).unwrap()).unwrap();
        let (truth, name) = (&truth["truth"], round.file_name().unwrap().to_string_lossy().into_owned());
        for view in ["view_000.jpg", "view_090.jpg"].iter().filter(|view| round.join(view).is_file()) {
            std::fs::copy(round.join(view), photos.join(format!("{name}_{view}"))).unwrap();
            table += &format!("{name}_{view},{},{},{name},\n", truth["lat"], truth["lng"]);
            count += 1;
        }
    }
    std::fs::copy(rounds[0].join("view_000.jpg"), photos.join("zz_again.jpg")).unwrap();
    image::RgbImage::from_pixel(640, 640, image::Rgb([228, 227, 223])).save(photos.join("grey.jpg")).unwrap();
    table += "zz_again.jpg,1,2,other,CC0\ngrey.jpg,3,4,other,CC0\n";
    std::fs::write(dir.join("places.csv"), table).unwrap();
    count
}

fn column(file: &Path, name: &str) -> Vec<String> {
    let mut reader = csv::Reader::from_path(file).unwrap();
    let i = reader.headers().unwrap().iter().position(|header| header == name).unwrap();
    reader.records().map(|record| record.unwrap()[i].to_owned()).collect()
}

#[test]
fn collected_photos_become_an_index_shards_and_features() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let count = write_photos(dir);
    run_ok(dir, "collect folder DIR/photos --places DIR/places.csv --out DIR/collected/photos");
    let index = "index DIR/collected/photos --images DIR/collected --dev 0.4 --out DIR/index.csv --json";
    let report: serde_json::Value = serde_json::from_str(&run_ok(dir, index)).unwrap();
    assert_eq!((report["found"].as_u64(), report["kept"].as_u64()), (Some(count as u64 + 2), Some(count as u64)));
    assert_eq!(report["left_out"], serde_json::json!({ "shows nothing": 1, "the same as another": 1 }));
    assert!(report["splits"]["dev"].as_u64() > Some(1) && report["splits"]["train"].as_u64() > Some(1), "{report}");
    let (files, splits) = (column(&dir.join("index.csv"), "file"), column(&dir.join("index.csv"), "split"));
    let groups = column(&dir.join("index.csv"), "group");
    let pairs: BTreeSet<(&String, &String)> = groups.iter().zip(&splits).collect();
    assert_eq!(pairs.len(), groups.iter().collect::<BTreeSet<_>>().len(), "a group is in two splits");
    assert!(column(&dir.join("index.csv"), "iso2").iter().all(|code| code.len() == 2));
    let once = std::fs::read(dir.join("index.csv")).unwrap();
    run_ok(dir, index);
    assert!(std::fs::read(dir.join("index.csv")).unwrap() == once, "a second run gives the same index");

    // Whole cells are held out.
    run_ok(dir, &index.replace("index.csv", "held.csv").replace("--dev 0.4", "--held-out 0.5 --held-out-level 2"));
    let splits = column(&dir.join("held.csv"), "split");
    let places = column(&dir.join("held.csv"), "lat").into_iter().zip(column(&dir.join("held.csv"), "lng"));
    let cells = places.map(|(lat, lng)| {
        let at = landfall_model::LatLng::new(lat.parse().unwrap(), lng.parse().unwrap()).unwrap();
        landfall_model::cells::leaf(at).parent(2)
    });
    let pairs: BTreeSet<_> = cells.zip(splits.iter().map(|split| split == "held_out")).collect();
    let cells: BTreeSet<_> = pairs.iter().map(|(cell, _)| cell).collect();
    assert_eq!(pairs.len(), cells.len(), "a cell is in two splits");
    assert!(pairs.iter().any(|(_, held)| *held) && pairs.iter().any(|(_, held)| !held));

    // Only an incomplete shard is written again.
    let shard = "shard --index DIR/index.csv --images DIR/collected --per 7 --out DIR/shards";
    let summary: serde_json::Value = serde_json::from_str(&run_ok(dir, &format!("{shard} --json"))).unwrap();
    assert_eq!(summary, serde_json::json!({ "shards": count.div_ceil(7), "pictures": count }));
    let first = dir.join("shards/shard-000000.tar");
    let (bytes, second) = (std::fs::read(&first).unwrap(), dir.join("shards/shard-000001.tar"));
    std::fs::remove_file(first.with_extension("csv")).unwrap();
    std::fs::write(&first, "truncated").unwrap();
    let before = std::fs::metadata(&second).unwrap().modified().unwrap();
    run_ok(dir, shard);
    assert!(
        std::fs::read(&first).unwrap() == bytes && std::fs::metadata(&second).unwrap().modified().unwrap() == before
    );
    let other = run(dir, &shard.replace("--per 7", "--per 8"));
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stderr).contains("another index, size or seed"));

    // The shards are regular tar files, in a different order from the index.
    let mut members = Vec::new();
    for i in 0..files.len().div_ceil(7) {
        let tar = std::fs::File::open(dir.join(format!("shards/shard-{i:06}.tar"))).unwrap();
        for entry in tar::Archive::new(tar).entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().to_string_lossy().into_owned();
            let mut contents = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut contents).unwrap();
            members.push((name, contents));
        }
    }
    assert_eq!(members.len(), 2 * files.len());
    let mut order = Vec::new();
    for pair in members.chunks(2) {
        let (key, json) = (pair[0].0.strip_suffix(".jpg").unwrap(), pair[1].0.strip_suffix(".json").unwrap());
        assert_eq!(key, json);
        let row: serde_json::Value = serde_json::from_slice(&pair[1].1).unwrap();
        let file = row["file"].as_str().unwrap().to_owned();
        assert!(std::fs::read(dir.join("collected").join(&file)).unwrap() == pair[0].1, "{file}");
        order.push(file);
    }
    assert_ne!(order, files);
    assert_eq!(order.into_iter().collect::<BTreeSet<_>>(), files.into_iter().collect());

    // Shards and files give the same features.
    for images in ["shards", "collected"] {
        let embed = format!(
            "embed --encoder model/bundles/pocket/bundle.json --workers 1 --index DIR/index.csv --images DIR/{images} \
             --out DIR/features-{images} --json"
        );
        let summary: serde_json::Value = serde_json::from_str(&run_ok(dir, &embed)).unwrap();
        assert_eq!(summary, serde_json::json!({ "pictures": count, "embedded": count, "failed": 0 }));
    }
    // The merged parts of two machines equal the features of one.
    for part in 1..=2 {
        let features = format!("--index DIR/index.csv --images DIR/shards --part {part}/2 --out DIR/part-{part}");
        run_ok(dir, &format!("embed --encoder model/bundles/pocket/bundle.json --workers 1 {features}"));
    }
    let summary = run_ok(dir, "merge DIR/part-1 DIR/part-2 --out DIR/features-merged --json");
    assert_eq!(summary.trim(), format!(r#"{{"pictures":{count}}}"#));
    let (_, merged) = landfall_trainer::load_features(&dir.join("features-merged")).unwrap();
    assert!(merged == landfall_trainer::load_features(&dir.join("features-shards")).unwrap().1);
    assert_eq!(landfall_trainer::load_features(&dir.join("part-1")).unwrap().1.len(), merged.len() / 2);
    run_ok(dir, "stats --index DIR/index.csv --out DIR/stats.html");
    assert!(std::fs::read_to_string(dir.join("stats.html")).unwrap().contains("United States"));
    let features = |images: &str| landfall_trainer::load_features(&dir.join(format!("features-{images}"))).unwrap().1;
    assert!(features("shards") == features("collected"));
    let evaluate = "evaluate --json --bundle pocket --index DIR/index.csv --split dev --views 1";
    let from = |what: &str| run_ok(dir, &format!("{evaluate} {what}"));
    assert_eq!(from("--images DIR/shards"), from("--features DIR/features-collected"));
}

#[test]
fn shards_in_a_bucket_work_as_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_photos(dir);
    // An image larger than a part of an upload and a block of a read.
    let noise =
        |x: u32, y: u32, i: u32| (x.wrapping_mul(2_654_435_761) ^ y.wrapping_mul(40_503 + i)).rotate_left(x % 32) as u8;
    let large = image::RgbImage::from_fn(2400, 2000, |x, y| image::Rgb([0, 1, 2].map(|i| noise(x, y, i))));
    large.save(dir.join("photos/large.png")).unwrap();
    assert!(std::fs::metadata(dir.join("photos/large.png")).unwrap().len() > 12 << 20);
    let places = std::fs::read_to_string(dir.join("places.csv")).unwrap() + "large.png,10,20,large,CC0\n";
    std::fs::write(dir.join("places.csv"), places).unwrap();
    run_ok(dir, "collect folder DIR/photos --places DIR/places.csv --out DIR/collected/photos");
    run_ok(dir, "index DIR/collected/photos --images DIR/collected --out DIR/index.parquet");

    let bucket = Arc::new(bucket::Bucket::default());
    let address = bucket.serve();
    let in_bucket = |key: &str, args: &str| {
        let args = args.replace("DIR", &dir.display().to_string());
        let mut command = Command::new(env!("CARGO_BIN_EXE_landfall-train"));
        command.args(args.split_whitespace()).current_dir(workspace()).envs([
            ("AWS_ENDPOINT_URL", address.as_str()),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", key),
            ("AWS_SECRET_ACCESS_KEY", "landfall-stub-secret"),
        ]);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let shard = "shard --index DIR/index.parquet --images DIR/collected --per 9 --out ";
    run_ok(dir, &format!("{shard} DIR/shards"));
    let upload = format!("{shard} s3://bucket/some/set");
    let (code, error) = in_bucket("a-wrong-key", &upload);
    assert!(code == Some(3) && error.contains("s3://bucket/some/set/shards.json"), "{error}");
    assert!(!error.contains("landfall-stub-secret"), "{error}");
    assert_eq!(in_bucket(bucket::KEY, &upload).0, Some(0));
    let objects = bucket.objects();
    for (key, bytes) in &objects {
        let file = dir.join("shards").join(key.strip_prefix("some/set/").unwrap());
        assert!(std::fs::read(&file).unwrap() == bytes[..], "{key}");
    }
    assert_eq!(objects.len(), dir.join("shards").read_dir().unwrap().count());
    assert_eq!(bucket.uploads.load(Ordering::SeqCst), 1, "only the shard with the large image is a multipart upload");
    // Existing shards are not uploaded again.
    assert_eq!(in_bucket(bucket::KEY, &upload).0, Some(0));
    assert_eq!(bucket.uploads.load(Ordering::SeqCst), 1);

    let embed = "embed --encoder model/bundles/pocket/bundle.json --index DIR/index.parquet --images";
    run_ok(dir, &format!("{embed} DIR/collected --out DIR/features"));
    let (code, error) = in_bucket(bucket::KEY, &format!("{embed} s3://bucket/some/set --out DIR/features-bucket"));
    assert_eq!(code, Some(0), "{error}");
    let load = |name: &str| landfall_trainer::load_features(&dir.join(name)).unwrap().1;
    assert!(load("features-bucket") == load("features"));
    let blocks: usize = objects.values().map(|object| object.len().div_ceil(2 << 20)).sum();
    let ranges = bucket.ranges.load(Ordering::SeqCst);
    assert!(ranges < 3 * blocks, "{ranges} reads of {blocks} blocks: each should be read about once");
    let (code, error) = in_bucket(bucket::KEY, &format!("{embed} s3://bucket/nothing --out DIR/none"));
    assert!(code == Some(2) && error.contains("contains no shards"), "{error}");
}

#[test]
fn no_command_reads_images_outside_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_photos(dir);
    let header = "set,file,lat,lng,iso2,group,split\ns,grey.jpg,1,2,FR,g,dev\n";
    let commands = [
        "stats --out DIR/stats.html --index DIR/index.csv",
        "shard --images DIR/photos --out DIR/shards --index DIR/index.csv",
        "embed --encoder model/bundles/pocket/bundle.json --images DIR/photos --out DIR/features --index DIR/index.csv",
        "evaluate --bundle pocket --images DIR/photos --split dev --views 1 --index DIR/index.csv",
        "partition --out DIR/cells.json --index DIR/index.csv",
    ];
    for name in ["../places.csv", "/etc/passwd", r"..\places.csv", "C:/x.jpg", "a/../../places.csv"] {
        std::fs::write(dir.join("index.csv"), format!("{header}s,{name},1,2,FR,g,dev\n")).unwrap();
        for command in commands {
            let output = run(dir, command);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(2), "{command}: {stderr}");
            assert!(stderr.contains("index.csv, line 3: the file name"), "{command}: {stderr}");
        }
    }
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("../places.csv", dir.join("photos/link.jpg")).unwrap();
        std::fs::write(dir.join("index.csv"), format!("{header}s,link.jpg,1,2,FR,g,dev\n")).unwrap();
        for command in &commands[1..4] {
            let output = run(dir, command);
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_ne!(output.status.code(), Some(0), "{command}: {stderr}");
            assert!(stderr.contains("index line 3"), "{command}: {stderr}");
        }
    }
}
