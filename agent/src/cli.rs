//! Commands and their options.

mod arena;
mod drawing;
mod export;
mod locate;
mod parallel;
mod print;
mod probe;
mod report;
mod run;
mod serve;
mod site;
mod stats;
#[cfg(feature = "screen")]
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use landfall_agent::arena::Structure;
use landfall_agent::replay::From;
use landfall_agent::think::MIN_GAIN;
use landfall_model::MapScale;
use url::Url;

pub(crate) use run::run;

#[derive(Parser)]
#[command(name = "landfall", version, about = "Knows where a photograph was taken, and proves it by playing")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Play a game in a real browser
    Play(Box<Play>),
    /// Say where photographs were taken
    Locate(locate::Locate),
    /// Answer saved rounds again, without a browser
    Replay(Replay),
    /// Show recorded rounds as one page: what was seen, what was believed, what came of it
    Report(ReportArgs),
    /// Say what all recorded games say together
    Stats(stats::Stats),
    /// Write recorded rounds as GeoJSON, CSV or KML
    Export(export::Export),
    /// Serve the practice game, for people and machines
    Arena(ArenaArgs),
    /// Put the phone page on the local network
    Serve(Serve),
    /// Say where what is on the screen seems to be, whenever it changes
    #[cfg(feature = "screen")]
    Watch(Watch),
    /// Say what is found, what is missing and how to mend it
    Doctor(Box<Doctor>),
    /// Find out how an unknown page is built by playing a game there, and write its site profile
    Probe(Probe),
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall play\n  landfall play --headed --photos ~/holiday\n  landfall play --site geoguessr --i-own-this-account --webdriver http://127.0.0.1:9515 https://www.geoguessr.com/maps/world\n  landfall play --attach 9222 --site mine.toml http://127.0.0.1:8000/game\n  landfall play --parallel 4 --games 20 --json\n  landfall arena --structure live & landfall play --site geoguessr --base-url http://127.0.0.1:8014"
)]
struct Play {
    /// Address of the game; the local arena when none is given
    url: Option<Url>,
    /// Site profile: a name or a file [default: the one whose host the address has; for the arena the one that knows its
    /// --structure]
    #[arg(long)]
    site: Option<String>,
    /// Play the site's profile at this origin on this computer, in place of its hosts and its need for consent; begins
    /// where the profile says when no address is given
    #[arg(long, value_name = "URL")]
    base_url: Option<Url>,
    #[command(flatten)]
    model: Model,
    /// A running WebDriver server, such as a Selenium Grid, in place of our own chromedriver
    #[arg(long, value_name = "URL")]
    webdriver: Option<Url>,
    /// Play in a new window of a browser that you have open, started with --remote-debugging-port; it stays open
    #[arg(long, value_name = "[HOST:]PORT", value_parser = debugger, conflicts_with_all = ["webdriver", "parallel"])]
    attach: Option<String>,
    /// Show the browser's window
    #[arg(long)]
    headed: bool,
    /// The account on the site is yours, and the game concerns nobody else
    #[arg(long)]
    i_own_this_account: bool,
    /// Scale of the map in metres, where you know it better than the profile
    #[arg(long, value_name = "METRES", value_parser = scale)]
    scale: Option<MapScale>,
    /// The map's places are in this country, by its code of two letters, as in FR (repeat the option)
    #[arg(long, value_name = "CODE")]
    country: Vec<String>,
    /// Rounds to play at most; the arena's games have this many
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Games to play, one after another; more than one where the site's terms concern nobody else
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    games: u32,
    /// Games to play at the same time, each in a browser of its own, as many as --games and at least this many in all; on
    /// the arena and on sites of your own on this computer
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), conflicts_with = "assist")]
    parallel: u32,
    /// Seconds between two games
    #[arg(long, default_value_t = 2.0, value_parser = seconds)]
    pause: f64,
    /// Set the pin and say why; you press the button, and may move the pin before. Shows the window
    #[arg(long)]
    assist: bool,
    /// Kilometres that the pin may be off from where it is wanted; else the round fails
    #[arg(long, value_name = "KM", default_value_t = 25.0, value_parser = kilometres)]
    max_pin_error: f64,
    /// Seconds that a round may take: rather fewer views than more time. A clock on the page counts too
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    time_budget: Option<f64>,
    /// Points that another view must promise to be taken: two to eight views where the view turns
    #[arg(long, value_name = "POINTS", default_value_t = MIN_GAIN, value_parser = points)]
    min_gain: f64,
    /// Folder for the record
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// Print one JSON object a game; with --parallel one of all games
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    drawing: drawing::Drawing,
    #[command(flatten)]
    rounds_from: RoundsFrom,
}

#[derive(Args)]
struct Model {
    /// Bundle: a name or a folder [default: desktop, or pocket where desktop's encoder is absent]
    #[arg(long)]
    bundle: Option<String>,
}

#[derive(Args)]
struct RoundsFrom {
    /// Folder of saved rounds that the arena shows
    #[arg(long, value_name = "DIR", conflicts_with = "photos")]
    fixtures: Option<PathBuf>,
    /// Folder of your own photos with GPS that the arena shows
    #[arg(long, value_name = "DIR")]
    photos: Option<PathBuf>,
    /// Makes the arena's choice of rounds repeat
    #[arg(long)]
    seed: Option<u64>,
    /// The arena shows a consent dialog and a message first, and one of a new level after a round, as live pages do
    #[arg(long)]
    dialogs: bool,
    /// How the arena's page is built
    #[arg(long, value_enum, default_value_t)]
    structure: Structure,
    /// The arena's map tiles take this much longer
    #[arg(long, value_name = "MS")]
    slow_tiles: Option<u64>,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall replay runs/2026-11-23T20-15-00_arena_landfall-arena --from logits\n  landfall replay --against fixtures/expected.json fixtures\n  landfall replay --bundle desktop --against pocket fixtures"
)]
struct Replay {
    /// Folder with round.json files in it or below
    dir: PathBuf,
    #[command(flatten)]
    model: Model,
    /// Compute from the pictures, or from the recorded logits
    #[arg(long, value_enum, default_value = "pictures")]
    from: From,
    /// What the rounds must score, a file whose name ends in .json; or a second bundle, by name or folder, to be compared
    /// with round by round
    #[arg(long, value_name = "FILE|BUNDLE")]
    against: Option<String>,
    /// Write what the rounds score now into this file, for this bundle
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    write_expected: Option<PathBuf>,
    /// Write answers and logits into the rounds' folders, as if they had been recorded so
    #[arg(long, conflicts_with = "against")]
    record: bool,
    /// Write the replayed rounds as a page to look at
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall report runs/2026-11-23T20-15-00_arena_landfall-arena\n  landfall report --out all.html runs\n  landfall report --explain --out fixtures.html fixtures"
)]
struct ReportArgs {
    /// Folders with round.json files in them or below: games, runs, fixtures
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// HTML file to write [default: report.html, of one folder in it, of several in this one]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Lay over each view what it was looked at for: 49 parts of it are hidden one after another and the answer is computed
    /// again. On two processor cores this takes the pocket bundle a third of a second a view, the
    /// desktop bundle between four and five seconds
    #[arg(long)]
    explain: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "Examples:\n  landfall arena --photos ~/holiday\n  landfall arena --structure live --dialogs")]
struct ArenaArgs {
    /// Port on this computer; 0 takes any free one
    #[arg(long, default_value_t = 8014)]
    port: u16,
    /// Rounds a game has
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Play against the machine: it looks at every round too, and its pin appears after yours
    #[arg(long)]
    versus: bool,
    /// Bundle that you play against: a name or a folder [default: desktop, or pocket where desktop's encoder is absent]
    #[arg(long, requires = "versus")]
    bundle: Option<String>,
    /// Folder that the series against the machine is kept in, as versus.jsonl
    #[arg(long, default_value = "runs", requires = "versus")]
    runs: PathBuf,
    #[command(flatten)]
    rounds_from: RoundsFrom,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall serve\n  landfall serve --listen 192.168.1.7:9000\n  landfall serve --http --listen 127.0.0.1:8080"
)]
struct Serve {
    /// Address and port to listen on; port 0 takes any free one [default: 0.0.0.0:8443, with --http 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Without HTTPS: for this computer alone, or behind a server that adds it
    #[arg(long)]
    http: bool,
    /// Folder of the built page [default: the one that set-up builds]
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Print one JSON object with the addresses
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall doctor --json\n  landfall doctor --site mine.toml http://127.0.0.1:8000/game\n  landfall doctor --site geoguessr --base-url http://127.0.0.1:8014"
)]
struct Doctor {
    /// Address of a page to try a site's profile on; the local arena when only --site is given
    url: Option<Url>,
    /// Site profile to try: a name or a file [default: the one whose host the address has]
    #[arg(long)]
    site: Option<String>,
    /// Try the site's profile at this origin on this computer, in place of its hosts and its need for consent
    #[arg(long, value_name = "URL")]
    base_url: Option<Url>,
    /// Picture of the page to write (PNG)
    #[arg(long, value_name = "FILE", default_value = "landfall-doctor.png")]
    picture: PathBuf,
    /// A running WebDriver server in place of our own chromedriver
    #[arg(long, value_name = "URL")]
    webdriver: Option<Url>,
    /// The account on the site is yours, and the game concerns nobody else
    #[arg(long)]
    i_own_this_account: bool,
    /// Print the JSON schema of site profiles instead
    #[arg(long)]
    schema: bool,
    /// Measure the encoder instead: milliseconds a view on one thread
    #[arg(long)]
    bench: bool,
    #[command(flatten)]
    model: Model,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[cfg(feature = "screen")]
#[derive(Args)]
#[command(
    group(clap::ArgGroup::new("source").required(true)),
    after_help = "Examples:\n  landfall watch --window \"Street View\"\n  landfall watch --region 0,80,1280,720 --json"
)]
struct Watch {
    /// A part of the screen in pixels
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", group = "source", allow_hyphen_values = true)]
    region: Option<landfall_agent::watch::Region>,
    /// The foremost window that has this in its title
    #[arg(long, value_name = "TITLE", group = "source")]
    window: Option<String>,
    #[command(flatten)]
    model: Model,
    /// Print one JSON line an answer
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    drawing: drawing::Drawing,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall probe http://127.0.0.1:8000/game && landfall play http://127.0.0.1:8000/game\n  landfall probe --out mine.toml --with-permission https://game.example.org/ && landfall play --site mine.toml https://game.example.org/\n\nThe guesses are of no use and count as any other: probe where that concerns nobody else. Live, ranked and multiplayer\npages are refused."
)]
struct Probe {
    /// Address of the page that the game begins at
    url: Url,
    /// File to write the profile into [default: the folder `profiles` of Landfall's configuration directory, by the host's
    /// name, where `play` finds it by the address]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write over a file that is there
    #[arg(long)]
    force: bool,
    /// The site is yours, or lets programs play: needed for pages that are not of this computer
    #[arg(long)]
    with_permission: bool,
    /// The account on the site is yours, and the game concerns nobody else
    #[arg(long)]
    i_own_this_account: bool,
    /// Rounds to play at most, to see how the game ends
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=30))]
    rounds: u32,
    /// A running WebDriver server in place of our own chromedriver
    #[arg(long, value_name = "URL")]
    webdriver: Option<Url>,
    /// Show the browser's window
    #[arg(long)]
    headed: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds));
    seconds.ok_or_else(|| format!("`{text}` is not a number of seconds, 0 to 86400"))
}

fn kilometres(text: &str) -> Result<f64, String> {
    let kilometres = text.parse().ok().filter(|kilometres: &f64| *kilometres > 0.0);
    kilometres.ok_or_else(|| format!("`{text}` is not a number of kilometres above 0"))
}

fn points(text: &str) -> Result<f64, String> {
    let points = text.parse().ok().filter(|points: &f64| (0.0..=5000.0).contains(points));
    points.ok_or_else(|| format!("`{text}` is not a number of points, 0 to 5000"))
}

fn debugger(text: &str) -> Result<String, String> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(format!("127.0.0.1:{port}"));
    }
    let address = Url::parse(&format!("http://{text}/")).ok();
    let plain = address.filter(|address| address.port().is_some() && address.as_str() == format!("http://{text}/"));
    plain.map(|_| text.to_owned()).ok_or_else(|| format!("`{text}` is no host and port, as in 127.0.0.1:9222"))
}

fn scale(text: &str) -> Result<MapScale, String> {
    let metres: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of metres"))?;
    MapScale::try_from(metres).map_err(|error| error.to_string())
}
