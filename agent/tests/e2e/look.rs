//! Looking around in a real Chromium: the number of views, and that no view is captured before it is loaded.

use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use image::RgbImage;
use landfall_agent::testing::{
    Area, Arena, ArenaOptions, BrowserOptions, Consent, HEADINGS, Map, Page, Profile, RoundInference, RoundSource,
    browser, look,
};
use landfall_model::score::MAX_POINTS;
use landfall_model::{Bundle, Classifier, MapScale};
use thirtyfour::By;
use url::Url;

/// A minimum gain so high that no third view is taken.
pub(crate) const TWO_VIEWS: f64 = 5000.0;

/// Inference for the World map with the pocket bundle and this minimum gain.
pub(crate) fn inference(min_gain: f64) -> RoundInference {
    let classifier = Arc::new(Classifier::load(Bundle::find("pocket").unwrap()).unwrap());
    let map = Map {
        name: "World".into(),
        scale_m: MapScale::WORLD,
        max_points: MAX_POINTS,
        score_law: None,
        is_scored_by_page: true,
        area: Area::default(),
    };
    RoundInference { classifier, map, min_gain }
}

#[tokio::test(flavor = "multi_thread")]
async fn min_gain_limits_the_number_of_views() {
    let rounds = tempfile::tempdir().unwrap();
    let (from, to) = (crate::fixtures().join("rounds/new-forest-track"), rounds.path().join("rounds/panorama"));
    std::fs::create_dir_all(&to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let source = RoundSource::Fixtures(rounds.path().to_owned());
    let arena = Arena::start(ArenaOptions { rounds_per_game: 1, ..ArenaOptions::new(source) }).await.unwrap();
    let options = BrowserOptions { viewport: (480, 400), ..BrowserOptions::default() };
    let driver = browser::open(&options).await.unwrap();
    let url = Url::parse(arena.url()).unwrap();
    let page = Page::open(driver, Profile::find("arena").unwrap(), &url, Consent::default()).await.unwrap();
    page.await_round().await.unwrap();

    let time_budget = Some(std::time::Duration::from_secs(120)); // enough for slow machines
    let all_views = look::around(&page, &inference(0.0), time_budget).await.unwrap();
    assert_eq!(all_views.len(), HEADINGS.len());
    for (view, heading) in all_views.iter().zip(HEADINGS) {
        let difference = (view.heading - heading + 180.0).rem_euclid(360.0) - 180.0;
        assert!(difference.abs() <= 3.0, "{} instead of {heading}", view.heading);
    }
    assert!(all_views.windows(2).all(|two| two[0].jpeg != two[1].jpeg && two[0].logits != two[1].logits));
    let two_views = look::around(&page, &inference(TWO_VIEWS), None).await.unwrap();
    assert_eq!(two_views.len(), 2, "the second view is captured while the first is classified");
    browser::shutdown(page.into_driver(), &options).await;
    arena.stop().await;
}

/// A page whose view can only be turned by a JavaScript call. It shows one of four images.
const TURN_BY_CALL: &str = r##"<!doctype html><title>A view with a function of its own</title>
<style>body { margin: 0 } img { display: block }</style>
<img id="view" width="640" height="480"><p id="yaw">40</p><div id="map" style="width: 40px; height: 30px"></div><button id="guess">Guess</button>
<script>
  const viewer = {
    yaw: 40,
    turnTo(yaw) {
      this.yaw = ((yaw % 360) + 360) % 360;
      document.getElementById("yaw").textContent = this.yaw;
      document.getElementById("view").src = `/${String((Math.round(this.yaw / 90) * 90) % 360).padStart(3, "0")}.jpg`;
      return { lat: 48.85, lng: 2.29 };
    },
  };
  viewer.turnTo(40);
</script>"##;

#[tokio::test(flavor = "multi_thread")]
async fn look_call_turns_the_view() {
    let round = crate::fixtures().join("rounds/brooklyn-elevated-railway");
    let pictures = get(async move |axum::extract::Path(name): axum::extract::Path<String>| {
        std::fs::read(round.join(format!("view_{name}"))).unwrap()
    });
    let app = Router::new().route("/", get(async || Html(TURN_BY_CALL))).route("/{name}", pictures);
    let look_section = "look = { heading = [\"#yaw\"], call = \"viewer.turnTo(viewer.yaw + degrees) // clockwise\",";
    let page = open(app, &PROFILE.replace("look = { heading = [],", look_section)).await;
    let time_budget = Some(std::time::Duration::from_secs(120));
    let views = look::around(&page, &inference(0.0), time_budget).await.unwrap();
    assert_eq!(views.iter().map(|view| view.heading).collect::<Vec<_>>(), HEADINGS.map(|it| it.rem_euclid(360.0)));
    assert!(views[..4].windows(2).all(|two| two[0].jpeg != two[1].jpeg));
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;

    let app = Router::new().route("/", get(async || Html(TURN_BY_CALL)));
    let page =
        open(app, &PROFILE.replace("look = { heading = [],", "look = { heading = [], call = \"veiwer.turn()\",")).await;
    let error = format!("{:#}", look::around(&page, &inference(0.0), None).await.unwrap_err());
    assert!(error.contains("look.call `veiwer.turn()` fails") && error.contains("veiwer is not defined"), "{error}");
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
}

/// Serves a page and waits for the round on it.
async fn open(app: Router, profile: &str) -> Page {
    let url = Url::parse(&crate::listen(app).await).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.toml");
    std::fs::write(&file, profile).unwrap();
    let profile = Profile::find(file.to_str().unwrap()).unwrap().permit_scripts(true);
    let driver = browser::open(&BrowserOptions::default()).await.unwrap();
    let page = Page::open(driver, profile, &url, Consent::default()).await.unwrap();
    page.await_round().await.unwrap();
    page
}

/// A page that draws its view with a delay, first at low resolution, and with black bars around it.
const SLOW_VIEW: &str = r##"<!doctype html><title>A view that takes its time</title>
<style>body { margin: 0 } canvas { display: block }</style>
<canvas id="view" width="760" height="520"></canvas>
<div id="map" style="position: fixed; right: 0; bottom: 0; width: 40px; height: 30px"></div><button id="guess">Guess</button>
<script>
  const picture = new Image(), pen = document.getElementById("view").getContext("2d");
  const small = new OffscreenCanvas(80, 60);
  const draw = (from) => {
    pen.fillRect(0, 0, 760, 520);
    pen.drawImage(from, 60, 20, 640, 480);
  };
  picture.onload = () => {
    small.getContext("2d").drawImage(picture, 0, 0, 80, 60);
    setTimeout(() => draw(small), 1200);
    setTimeout(() => draw(picture), 2200);
  };
  picture.src = "/picture.png";
</script>"##;

const PROFILE: &str = r##"
name = "page"
version = 1
hosts = ["127.0.0.1"]
needs_consent = false
paths = { play = ["^/$"], refuse = [] }
page = { dismiss = [], start = [], loading = [], map_name = [], problem = [] }
look = { heading = [], view = ["#view"], photo = [], hide = ["#map"], still_ms = 150, hfov = 90.0 }
map = { canvas = ["#map"], tiles = ["#map img"], tile_address = ['(?<z>\d)(?<x>\d)(?<y>\d)'], marker = [], marker_anchor = [0.5, 1.0], guess = ["#guess"] }
result = { shown = [], points = [], truth = [[], []], guess = [[], []], next = [], total = [] }
"##;

#[tokio::test(flavor = "multi_thread")]
async fn capture_waits_for_the_view_and_crops_black_bars() {
    let file = crate::fixtures().join("rounds/brooklyn-elevated-railway/view_090.jpg");
    let picture = image::open(file).unwrap().resize_exact(640, 480, image::imageops::FilterType::Triangle).to_rgb8();
    let mut png = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let png = png.into_inner();
    let app = Router::new()
        .route("/", get(async || Html(SLOW_VIEW)))
        .route("/picture.png", get(move || async move { ([(header::CONTENT_TYPE, "image/png")], png) }));
    let page = open(app, PROFILE).await;
    let views = look::around(&page, &inference(TWO_VIEWS), None).await.unwrap();
    assert_eq!(views.len(), 1, "this view does not turn");
    let captured: RgbImage = image::load_from_memory(&views[0].jpeg).unwrap().to_rgb8();
    assert_eq!(captured.dimensions(), picture.dimensions());
    let mean_difference = captured.iter().zip(picture.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>()
        / captured.len() as f64;
    assert!(mean_difference < 6.0, "not the sharp picture: mean difference {mean_difference}");
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
}

/// Selectors that are valid one by one, but form a rule of their own if they are joined in a stylesheet.
#[tokio::test(flavor = "multi_thread")]
async fn selectors_cannot_add_rules_to_the_page() {
    let leaked = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let leak = std::sync::Arc::clone(&leaked);
    let leak = get(move || async move { leak.store(true, std::sync::atomic::Ordering::SeqCst) });
    let app = Router::new().route("/", get(async || Html(TURN_BY_CALL))).route("/leak", leak);
    let hide = r##"hide = ['a[b="', 'p[x="], body {background: url(/leak)} i[y="', '#map']"##;
    let page = open(app, &PROFILE.replace("hide = [\"#map\"]", hide)).await;
    let visibility = async || {
        let script = "return ['map', 'yaw'].map(id => getComputedStyle(document.getElementById(id)).visibility)";
        page.script::<[String; 2]>(script).await.unwrap()
    };
    let inference = inference(0.0);
    let (looked, hidden) = tokio::join!(look::around(&page, &inference, None), async {
        for _ in 0..1000 {
            let [map, other] = visibility().await;
            if map == "hidden" {
                return other;
            }
        }
        "the map was not hidden".to_owned()
    });
    drop(looked); // its result does not matter
    assert_eq!(hidden, "visible");
    assert_eq!(visibility().await, ["visible", "visible"], "restored");
    assert!(!leaked.load(std::sync::atomic::Ordering::SeqCst));
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
}

/// A view of fractional size, with what a round needs. `before` is HTML in front of it.
fn colourful_view(before: &str, view: &str) -> Router {
    let html = format!(
        "<!doctype html><style>body {{ margin: 0 }} #view {{ width: 401.3px; height: 300.6px; border: 0; display: block; \
         background: conic-gradient(red, lime, blue, red) }}</style>{before}{view}\
         <p style='height: 2000px'></p><div id=map style='position: fixed; right: 0; bottom: 0; width: 40px; height: 30px'>\
         </div><button id=guess style='position: fixed; right: 60px; bottom: 0'>Guess</button>"
    );
    Router::new().route("/", get(async || Html(html)))
}

#[tokio::test(flavor = "multi_thread")]
async fn fast_screenshots_have_the_pixels_of_the_drivers_own() {
    let inner = crate::listen(colourful_view(
        "<p>In a frame</p>",
        "<div id=inner style='width: 300px; height: 200px; \
        background: linear-gradient(to right, red, lime, blue)'>view</div>",
    ))
    .await;
    let in_frame = PROFILE.replace("view = [\"#view\"]", "view = [{ css = \"#inner\", frame = [\"#view\"] }]");
    let view = "<div id=view>view</div>";
    let frame = format!("<iframe id=view src='{}' scrolling=no></iframe>", inner.replace("127.0.0.1", "localhost"));
    for (before, view, profile, scroll) in [
        ("<p>On top</p>", view, PROFILE, 0),
        (
            "<style>#view { margin-left: 160.4px }</style><p style='height: 333.3px; width: 3000px'></p>",
            view,
            PROFILE,
            150,
        ),
        ("<p style='height: 100.5px'></p>", frame.as_str(), in_frame.as_str(), 37),
        // Partly visible: by the driver, which scrolls.
        ("<p style='height: 1500px'></p>", view, PROFILE, 0),
    ] {
        let page = open(colourful_view(before, view), profile).await;
        page.script::<()>(&format!("scrollTo({scroll}, {scroll})")).await.unwrap();
        let found = page.find(&page.profile().look.view).await.unwrap().unwrap();
        let picture = page.picture(&found).await.unwrap();
        let driver = page.into_driver();
        // The session is still in the frame of the view.
        let id = if profile == PROFILE { "view" } else { "inner" };
        let expected = driver.find(By::Id(id)).await.unwrap().screenshot_as_png().await.unwrap();
        let [ours, theirs] = [&picture, &expected].map(|png| image::load_from_memory(png).unwrap().to_rgb8());
        assert_eq!(ours.dimensions(), theirs.dimensions(), "{before}");
        assert!(ours == theirs, "{before}");
        assert_eq!(picture == expected, before.contains("1500"), "{before}: which command was used");
        browser::shutdown(driver, &BrowserOptions::default()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_scrolling_reaches_is_not_on_display() {
    let outside = "<style>p, div { margin: 0 }</style>\
         <p class=is style='position: absolute; top: 3000px'>below the window</p>\
         <p class=is style='position: absolute; left: 3000px'>beside it</p>\
         <div style='height: 40px; overflow: auto'><p style='height: 3000px'></p><p class=is>in a list</p></div>\
         <div style='position: fixed; top: 0; right: 0; height: 40px; overflow: auto'><p style='height: 3000px'></p>\
         <p class=is>in a fixed list</p></div>\
         <div style='transform: translate(0)'><p class=is style='position: fixed; top: 2500px'>fixed in what scrolls</p></div>\
         <p class=not style='position: fixed; top: 3000px'>below, fixed</p>\
         <div style='position: fixed; right: -900px; width: 300px'><p class=not>in a drawer</p></div>\
         <div style='position: fixed; inset: 0 0 auto; transform: translateY(-110%)'><p class=not>in a message</p></div>\
         <p class=not style='position: absolute; left: -3000px'>before the page</p>\
         <p class=not style='position: absolute; top: -3000px'>above the page</p>";
    let profile = PROFILE.replace("hide = [\"#map\"]", "hide = [\".is\", \".not\"]");
    let page = open(colourful_view(outside, "<div id=view>view</div>"), &profile).await;
    assert_eq!(page.count(&page.profile().look.hide).await.unwrap(), [5, 0]);
    // The same when they have been scrolled out of the window.
    page.script::<()>("scrollTo(0, 1500)").await.unwrap();
    assert_eq!(page.count(&page.profile().look.hide).await.unwrap(), [5, 0]);
    browser::shutdown(page.into_driver(), &BrowserOptions::default()).await;
}
