//! End-to-end tests: whole games and commands in a real Chromium, against the arena and against test pages.
//!
//! All of them are in one binary so that it is linked only once. `cargo xtask test` sets how many browsers run in
//! parallel.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod any_game;
mod api;
mod archive;
mod arena;
mod bench;
mod browsers;
mod chromedriver;
mod cli;
mod compat;
mod fair;
mod faults;
mod frames;
mod installation;
mod leaks;
mod live;
mod look;
mod maps;
mod mcp;
mod out;
mod photos;
mod play;
mod records;
mod report;
mod review;
mod serve;
mod setup;
mod versus;

/// Directory of the recorded rounds that are part of the repository.
fn fixtures() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures")
}

/// Serves pages or a stub on a free port of this computer. Returns its URL, without a slash at the end.
async fn listen(app: axum::Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    base
}

/// A map tile of one colour, as PNG.
fn tile_png() -> Vec<u8> {
    let mut tile = Vec::new();
    image::RgbImage::from_pixel(256, 256, image::Rgb([190, 210, 230]))
        .write_to(&mut std::io::Cursor::new(&mut tile), image::ImageFormat::Png)
        .unwrap();
    tile
}

/// A client for the servers of a test.
fn http() -> reqwest::Client {
    landfall_common::http::client_builder().no_proxy().build().unwrap()
}

/// A copy of those rounds that are panoramas, for tests in which the agent has to look around.
fn panoramas() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for round in std::fs::read_dir(fixtures().join("rounds")).unwrap().map(Result::unwrap) {
        if !round.path().join("pano.jpg").exists() {
            continue;
        }
        let to = dir.path().join("rounds").join(round.file_name());
        std::fs::create_dir_all(&to).unwrap();
        for file in std::fs::read_dir(round.path()).unwrap().map(Result::unwrap) {
            std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
    dir
}
