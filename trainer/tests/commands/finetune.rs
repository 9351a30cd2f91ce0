//! End-to-end tests of fine-tuning on real pictures: EfficientNet-Lite0 is distilled from the pocket bundle, a run is
//! interrupted and resumed, and the result is exported as a bundle.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use landfall_model::classifier::Classifier;
use landfall_model::{Bundle, preprocess};

const RECIPE: &str = r#"
[data]
cache = "DIR/pictures"

[teacher]
bundle = "model/bundles/pocket"
features = ["DIR/features"]

[student]
encoder = "trainer/encoders/efficientnet-lite0.json"
cell_embeddings = "trainer/recipes/desktop/cell_embeddings.f32"
side = 96

[train]
seed = 3
batch = 2
weight_decay = 0.01
clip = 1.0
ema_decay = 0.5
embedding = 4.0
posterior = 1.0
mixup = 0.2

[augment]
scale = 0.8
colour = 0.2
jpeg = 0.5

[[stage]]
epochs = 2
side = 32
frozen = 16
lr = 1e-3

[[stage]]
epochs = 2
side = 64
lr = 1e-3
encoder_lr_scale = 0.1
warm_up = 0.2
"#;

const HEAD: &str = r#"
[data]
features = ["DIR/student"]
index = "DIR/index.csv"
cells = "model/bundles/desktop/cells.json"

[train]
epochs = 2
batch = 4
"#;

/// Number of views in the index.
const VIEWS: usize = 4;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Writes an index of [`VIEWS`] views from the fixtures, and the recipe.
fn write_index(dir: &Path) {
    let mut index = String::from("set,file,lat,lng,iso2,country,label_level,group,heading,split,source,licence\n");
    let mut rounds: Vec<PathBuf> =
        workspace().join("fixtures/rounds").read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    rounds.sort();
    for (i, round) in rounds.iter().filter(|round| round.join("view_000.jpg").is_file()).take(VIEWS).enumerate() {
        let file = round.join("view_000.jpg");
        index +=
            &format!("fixtures,{},{i},{i},FR,,,g{i},0,train,,\n", file.strip_prefix(workspace()).unwrap().display());
    }
    assert_eq!(index.lines().count(), VIEWS + 1);
    std::fs::write(dir.join("index.csv"), index).unwrap();
    std::fs::write(dir.join("recipe.toml"), RECIPE.replace("DIR", &dir.display().to_string())).unwrap();
}

fn run(dir: &Path, args: &str) -> Output {
    let args = args.replace("DIR", &dir.display().to_string());
    Command::new(env!("CARGO_BIN_EXE_landfall-train"))
        .args(args.split_whitespace())
        .current_dir(workspace())
        .output()
        .unwrap()
}

fn run_ok(dir: &Path, args: &str) -> String {
    let output = run(dir, args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args}: {stderr}");
    stderr
}

/// Mean loss of each epoch, from the JSON lines on standard error.
fn losses(stderr: &str) -> Vec<f64> {
    let lines = stderr.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    lines.filter_map(|line| line["loss"].as_f64()).collect()
}

#[test]
fn an_interrupted_run_resumes_to_the_same_encoder() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_index(dir);
    run_ok(dir, "embed --encoder model/bundles/pocket/bundle.json --index DIR/index.csv --images . --out DIR/features");
    let finetune = "finetune --recipe DIR/recipe.toml --index DIR/index.csv --images . --json";
    let straight = losses(&run_ok(dir, &format!("{finetune} --out DIR/straight")));
    assert_eq!(straight.len(), 4);
    assert!(straight.last() < straight.first(), "{straight:?}");

    let first = run_ok(dir, &format!("{finetune} --out DIR/resumed --steps 5"));
    assert!(first.contains("continue with --resume"), "{first}");
    assert!(!dir.join("resumed/encoder.onnx").exists());
    let other = run(dir, &format!("{finetune} --out DIR/resumed --resume --folds 3"));
    assert!(String::from_utf8_lossy(&other.stderr).contains("different data"), "{other:?}");
    let rest = losses(&run_ok(dir, &format!("{finetune} --out DIR/resumed --resume")));
    assert_eq!(rest[1..], straight[straight.len() - rest.len() + 1..]);
    let bytes = |run: &str| std::fs::read(dir.join(run).join("encoder.onnx")).unwrap();
    assert!(bytes("straight") == bytes("resumed"), "the encoders differ");
    assert!(bytes("straight").len() < 8_200_000, "4 million weights in half precision");

    // A fine-tuned encoder can be the initial encoder of another run.
    let again = RECIPE.replace("trainer/encoders/efficientnet-lite0.json", "DIR/straight/encoder.json");
    std::fs::write(dir.join("again.toml"), again.replace("DIR", &dir.display().to_string())).unwrap();
    let again = "finetune --recipe DIR/again.toml --index DIR/index.csv --images . --json --out DIR/again --steps 2";
    assert!(losses(&run_ok(dir, again)).first() < straight.first());

    // Further feature folders may have only the central square; the first must have all squares.
    let index = std::fs::read_to_string(dir.join("index.csv")).unwrap();
    let further = "fixtures,fixtures/rounds/rome-colosseum/view_000.jpg,,,IT,,,rome,0,train,,\n";
    std::fs::write(dir.join("more.csv"), index + further).unwrap();
    run_ok(
        dir,
        "embed --encoder model/bundles/pocket/bundle.json --whole --index DIR/more.csv --images . --out DIR/whole",
    );
    let more = "finetune --recipe DIR/more.toml --index DIR/more.csv --images . --json --out DIR/more --steps 2";
    let with = |features: &str| {
        let recipe = RECIPE.replace("[\"DIR/features\"]", features).replace("DIR/pictures", "DIR/more-pictures");
        std::fs::write(dir.join("more.toml"), recipe.replace("DIR", &dir.display().to_string())).unwrap();
    };
    with(r#"["DIR/whole", "DIR/features"]"#);
    assert!(String::from_utf8_lossy(&run(dir, more).stderr).contains("features of all squares"));
    with(r#"["DIR/features", "DIR/whole"]"#);
    run_ok(dir, more);
    let cached = std::fs::read_to_string(dir.join("more-pictures/train/files.txt")).unwrap();
    assert!(cached.lines().count() == VIEWS + 1 && cached.contains("rome-colosseum"), "{cached}");

    run_ok(dir, "embed --index DIR/index.csv --images . --encoder DIR/straight/encoder.json --out DIR/student");
    let rows = std::fs::read(dir.join("student/rows.f32")).unwrap();
    assert_eq!(rows.len(), VIEWS * 3 * 512 * 4);
    assert!(rows.chunks_exact(4).all(|x| f32::from_le_bytes(x.try_into().unwrap()).is_finite()));

    std::fs::write(dir.join("head.toml"), HEAD.replace("DIR", &dir.display().to_string())).unwrap();
    run_ok(dir, "fit --recipe DIR/head.toml --out DIR/head");
    let cells = "model/bundles/desktop/cells.json";
    run_ok(
        dir,
        &format!(
            "export --head DIR/head --encoder DIR/straight/encoder.json --cells {cells} --name tiny --version 1 \
             --precision f16 --out DIR/tiny"
        ),
    );
    // The head that was trained together with the encoder can be exported too.
    run_ok(
        dir,
        &format!(
            "export --head DIR/straight/head --encoder DIR/straight/encoder.json --cells {cells} --name own --version 1 \
             --precision int8 --out DIR/own"
        ),
    );
    // The same with a quantised encoder.
    let quantise =
        "quantise --encoder DIR/straight/encoder.json --head DIR/straight/head --index DIR/index.csv --images .";
    let refused = run(dir, &format!("{quantise} --out DIR/refused --cosine 0.99999"));
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(dir.join("refused").read_dir().unwrap().next().is_none(), "a failed check leaves no files");
    run_ok(dir, &format!("{quantise} --out DIR/bytes"));
    let on = RECIPE.replace("trainer/encoders/efficientnet-lite0.json", "DIR/bytes/encoder.json");
    std::fs::write(dir.join("on.toml"), on.replace("DIR", &dir.display().to_string())).unwrap();
    let on = "finetune --recipe DIR/on.toml --index DIR/index.csv --images . --json --out DIR/on --steps 2";
    assert!(losses(&run_ok(dir, on)).first() < straight.first(), "a quantised encoder can be the initial encoder");
    let size = |run: &str| std::fs::metadata(dir.join(run).join("encoder.onnx")).unwrap().len();
    assert!(size("bytes") * 18 < size("straight") * 10, "{} of {}", size("bytes"), size("straight"));
    run_ok(
        dir,
        &format!(
            "export --head DIR/bytes/head --encoder DIR/bytes/encoder.json --cells {cells} --name bytes --version 1 \
             --precision int8 --out DIR/whole-numbers"
        ),
    );
    let round = workspace().join("fixtures/rounds/rome-colosseum/view_000.jpg");
    for bundle in ["tiny", "own", "whole-numbers"] {
        let classifier = Classifier::load(Bundle::open(&dir.join(bundle)).unwrap()).unwrap();
        let logits = classifier.logits(&[preprocess::open(&round).unwrap()]).unwrap();
        assert_eq!((logits.len(), logits[0].len()), (1, classifier.bundle.cells.cells.len()));
        assert!(logits[0].iter().all(|z| z.is_finite()));
    }
}

#[test]
fn invalid_recipes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_index(dir);
    let finetune = "finetune --recipe DIR/recipe.toml --index DIR/index.csv --images . --out DIR/out";
    let assert_error = |recipe: &str, expected: &str| {
        std::fs::write(dir.join("recipe.toml"), recipe.replace("DIR", &dir.display().to_string())).unwrap();
        let output = run(dir, finetune);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(expected), "{stderr}");
    };
    assert_error(
        &RECIPE.replace("batch = 2", "batch = 2\nbatches = 2"),
        "recipe.toml, line 17: unknown field `batches`",
    );
    assert_error(&RECIPE.replace("side = 64", "side = 65"), "stage.side must be a multiple of 32");
    assert_error(RECIPE, "DIR/features".replace("DIR", &dir.display().to_string()).as_str());
}

#[test]
fn a_truncated_encoder_is_distilled_to_the_embeddings_of_the_full_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    write_index(dir);
    let encoder = "--encoder model/bundles/desktop/bundle.json";
    let wrong = run(dir, &format!("truncate-encoder {encoder} --after nothing --out DIR/cut"));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("no node outputs `nothing`"), "{wrong:?}");
    assert_eq!(wrong.status.code(), Some(2));
    run_ok(
        dir,
        &format!("truncate-encoder {encoder} --after /vision_model/encoder/layers.0/Add_1_output_0 --out DIR/cut"),
    );
    let pictures = "--index DIR/index.csv --images .";
    run_ok(dir, &format!("embed {encoder} {pictures} --out DIR/teacher"));
    run_ok(dir, &format!("embed --encoder DIR/cut/encoder.json {pictures} --out DIR/tokens"));

    let pool = "distill-pooling --encoder DIR/cut/encoder.json --tokens DIR/tokens --index DIR/index.csv --json";
    let other = run(dir, &format!("{pool} --teacher DIR/teacher --width 7 --out DIR/pool"));
    assert!(String::from_utf8_lossy(&other.stderr).contains("not a multiple of --width 7"), "{other:?}");
    assert_eq!(other.status.code(), Some(2));
    let stderr =
        run_ok(dir, &format!("{pool} --teacher DIR/teacher --queries 2 --dropout 0 --epochs 40 --out DIR/pool"));
    let losses = losses(&stderr);
    assert!(losses.len() == 40 && losses[39] < 0.3 * losses[0], "{losses:?}");

    // The exported encoder gives the same embeddings as burn on the tokens.
    run_ok(dir, &format!("embed --encoder DIR/pool/encoder.json {pictures} --out DIR/again"));
    let features = |folder: &str| landfall_trainer::load_features(&dir.join(folder)).unwrap().1;
    let (by_burn, by_onnx) = (features("pool/features/tokens"), features("again"));
    assert_eq!(by_burn.len(), VIEWS);
    for (file, a) in &by_burn {
        assert_eq!(a.len(), 3 * 512, "three squares");
        let b = &by_onnx[file];
        let cosine = a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>() / 3.0;
        assert!(cosine > 0.999, "{}: {cosine}", file.display());
    }
}
