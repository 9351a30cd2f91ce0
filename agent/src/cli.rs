//! Commands and their options, and what they print.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use landfall_agent::arena::{Arena, ArenaOptions, Dialogs, RoundSource};
use landfall_agent::browser::{self, BrowserOptions};
use landfall_agent::failure::{no, surroundings, wrong};
use landfall_agent::game::{self, Game, PlayOptions};
use landfall_agent::record::{self, Round};
use landfall_agent::replay::{self, Expected, From};
use landfall_agent::site::Profile;
use landfall_agent::site::guard::{self, Consent};
use landfall_agent::site::page::Page;
use landfall_agent::{doctor, locate};
use landfall_model::{Bundle, Classifier, MapScale};
use url::Url;

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
    Locate(Locate),
    /// Answer saved rounds again, without a browser
    Replay(Replay),
    /// Serve the practice game, for people and machines
    Arena(ArenaArgs),
    /// Say what is found, what is missing and how to mend it
    Doctor(Doctor),
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall play\n  landfall play --headed --photos ~/holiday\n  landfall play --site geoguessr --i-own-this-account --webdriver http://127.0.0.1:9515 https://www.geoguessr.com/maps/world"
)]
struct Play {
    /// Address of the game; the local arena when none is given
    url: Option<Url>,
    /// Site profile: a name or a file [default: arena, or the one whose host the address has]
    #[arg(long)]
    site: Option<String>,
    #[command(flatten)]
    model: Model,
    /// A running WebDriver server in place of our own chromedriver
    #[arg(long, value_name = "URL")]
    webdriver: Option<Url>,
    /// Show the browser's window
    #[arg(long)]
    headed: bool,
    /// The account on the site is yours, and the game concerns nobody else
    #[arg(long)]
    i_own_this_account: bool,
    /// Scale of the map in metres, where you know it better than the profile
    #[arg(long, value_name = "METRES", value_parser = scale)]
    scale: Option<MapScale>,
    /// Rounds to play at most; the arena's games have this many
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Folder for the record
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
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
    /// The arena shows a consent dialog and a message first, as live pages do
    #[arg(long)]
    dialogs: bool,
    /// The arena's map tiles take this much longer
    #[arg(long, value_name = "MS")]
    slow_tiles: Option<u64>,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall locate holiday.jpg\n  landfall locate --json --one-place north.jpg east.jpg south.jpg west.jpg"
)]
struct Locate {
    /// Pictures: JPEG, PNG or WebP
    #[arg(required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    model: Model,
    /// All pictures are views of one place
    #[arg(long)]
    one_place: bool,
    /// Print one JSON line an answer
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Examples:\n  landfall replay runs/2026-11-23T20-15-00_arena_landfall-arena --from logits\n  landfall replay --against fixtures/expected.json fixtures"
)]
struct Replay {
    /// Folder with round.json files in it or below
    dir: PathBuf,
    #[command(flatten)]
    model: Model,
    /// Compute from the pictures, or from the recorded logits
    #[arg(long, value_enum, default_value = "pictures")]
    from: From,
    /// What the rounds must score
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Write what the rounds score now into this file, for this bundle
    #[arg(long, value_name = "FILE", conflicts_with = "against")]
    write_expected: Option<PathBuf>,
    /// Write answers and logits into the rounds' folders, as if they had been recorded so
    #[arg(long, conflicts_with = "against")]
    record: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "Example:\n  landfall arena --photos ~/holiday")]
struct ArenaArgs {
    /// Port on this computer; 0 takes any free one
    #[arg(long, default_value_t = 8014)]
    port: u16,
    /// Rounds a game has
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    rounds_from: RoundsFrom,
}

#[derive(Args)]
#[command(after_help = "Example:\n  landfall doctor --json")]
struct Doctor {
    /// Measure the encoder instead: milliseconds a view on one thread
    #[arg(long)]
    bench: bool,
    #[command(flatten)]
    model: Model,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command that was typed.
pub(crate) async fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Play(args) => play(*args).await,
        Command::Locate(args) => locate(&args),
        Command::Replay(args) => replay(&args),
        Command::Arena(args) => arena(args).await,
        Command::Doctor(args) => doctor(&args),
    }
}

async fn play(args: Play) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let profile = Profile::find(&site_of(&args)?)?;
    if let Some(url) = &args.url {
        guard::check(&profile, url, consent)?; // before anything is loaded or opened
    }
    let classifier = Arc::new(args.model.load()?);
    let (arena, url) = match args.url {
        Some(url) => (None, url),
        None => {
            let arena = Arena::start(args.rounds_from.options(args.rounds as usize, 0)?).await?;
            arena.notes().iter().for_each(|note| eprintln!("arena: {note}"));
            let url = Url::parse(arena.url())?;
            (Some(arena), url)
        }
    };
    if profile.needs_consent {
        eprintln!("{url}: playing by machine may be against this site's terms; that is between you and the site.");
    }
    let options = BrowserOptions { webdriver: args.webdriver, headed: args.headed, ..BrowserOptions::default() };
    let driver = browser::open(&options).await?;
    let options = PlayOptions { runs: args.runs, scale: args.scale, rounds: args.rounds };
    let told = |round: &Round| eprintln!("{}", line(round));
    let played = match Page::open(driver.clone(), profile, &url, consent).await {
        Ok(page) => game::play(&page, classifier, &options, told).await,
        Err(error) => Err(error),
    };
    let quit = driver.quit().await;
    if let Some(arena) = arena {
        arena.stop().await;
    }
    let game = played?;
    quit.context(surroundings("the browser did not close"))?;
    if args.json {
        print_json(&game)?
    } else {
        print_game(&game)
    }
    match disagreement(&game) {
        Some(what) => Err(no(what)),
        None => Ok(()),
    }
}

fn site_of(args: &Play) -> Result<String> {
    if let Some(site) = &args.site {
        return Ok(site.clone());
    }
    let Some(host) = args.url.as_ref().and_then(Url::host_str) else { return Ok("arena".to_owned()) };
    for (name, _) in landfall_agent::site::BUILT_IN {
        if Profile::find(name)?.hosts.iter().any(|ours| ours == host) {
            return Ok((*name).to_owned());
        }
    }
    Err(wrong(format!("no built-in site profile is for {host}; write one and name it with --site FILE")))
}

/// The page and we must count the same.
fn disagreement(game: &Game) -> Option<String> {
    let differs = |round: &&Round| round.score.zip(round.page_score).is_some_and(|(ours, theirs)| ours != theirs);
    game.rounds.iter().find(differs).map(|round| {
        let n = round.n.unwrap_or_default();
        format!(
            "round {n}: we count {:?} points, the page {:?}: is the map's scale right?",
            round.score, round.page_score
        )
    })
}

fn line(round: &Round) -> String {
    let points = |points: Option<u32>| points.map_or_else(|| "?".to_owned(), |points| points.to_string());
    let far = round.distance_m.map_or_else(|| "? km".to_owned(), |metres| format!("{:.0} km", metres / 1000.0));
    format!(
        "round {}  {:<44} {:>9} off  ours {:>4}  page {:>4}  {:.1} s",
        round.n.unwrap_or_default(),
        round.place.as_deref().unwrap_or("?"),
        far,
        points(round.score),
        points(round.page_score),
        round.seconds.unwrap_or_default().total
    )
}

fn print_game(game: &Game) {
    println!("{} on {}, {}", game.bundle, game.map.name, game.site);
    game.rounds.iter().for_each(|round| println!("{}", line(round)));
    let points = |points: Option<u32>| points.map_or_else(|| "?".to_owned(), |points| points.to_string());
    println!("total: ours {}, page {} of {}", points(game.score), points(game.page_score), 5000 * game.rounds.len());
    println!("record: {}", game.record.display());
}

fn locate(args: &Locate) -> Result<()> {
    let classifier = args.model.load()?;
    let places: Vec<Vec<&Path>> = if args.one_place {
        vec![args.files.iter().map(PathBuf::as_path).collect()]
    } else {
        args.files.iter().map(|file| vec![file.as_path()]).collect()
    };
    let mut broken = 0;
    for files in &places {
        match locate::locate(&classifier, files) {
            Ok(located) if args.json => print_json_line(&located)?,
            Ok(located) => println!("{located}"),
            Err(error) => {
                broken += 1;
                eprintln!("landfall: {error:#}");
            }
        }
    }
    if broken > 0 { Err(no(format!("{broken} of {} could not be located", places.len()))) } else { Ok(()) }
}

fn replay(args: &Replay) -> Result<()> {
    let expected = args.against.as_deref().map(Expected::read).transpose()?; // a wrong file is said before the work
    let bundle = args.model.find()?;
    let mut result = replay::replay(&args.dir, bundle, args.from)?;
    if let Some(expected) = &expected {
        result.hold_against(expected, args.from)?;
    }
    if args.record {
        result.record(&args.dir)?;
    }
    if let Some(file) = &args.write_expected {
        let mut expected = if file.exists() { Expected::read(file)? } else { Expected::default() };
        result.expect(&mut expected);
        record::write_json(file, &expected)?;
    }
    if args.json {
        print_json(&result)?;
    } else {
        for replayed in &result.rounds {
            let round = &replayed.round;
            let far = round.distance_m.map_or_else(|| "?".to_owned(), |metres| format!("{:.0}", metres / 1000.0));
            println!(
                "{:<40} {:<44} {far:>6} km  {:>4}",
                replayed.dir,
                round.place.as_deref().unwrap_or("?"),
                round.score.unwrap_or_default()
            );
        }
        println!(
            "total: {}{}",
            result.score,
            result.expected.map_or_else(String::new, |points| format!(", expected {points}"))
        );
    }
    result.verdict(args.from)
}

async fn arena(args: ArenaArgs) -> Result<()> {
    let arena = Arena::start(args.rounds_from.options(args.rounds, args.port)?).await?;
    arena.notes().iter().for_each(|note| eprintln!("arena: {note}"));
    println!("{}", arena.url());
    eprintln!("Open it in a browser; Ctrl-C ends it.");
    tokio::signal::ctrl_c().await?;
    arena.stop().await;
    Ok(())
}

fn doctor(args: &Doctor) -> Result<()> {
    if args.bench {
        let milliseconds = doctor::encoder_ms(args.model.find()?)?;
        if args.json {
            return print_json(&serde_json::json!({"encoder_ms": milliseconds}));
        }
        println!("{milliseconds:.1} ms a view, one thread");
        return Ok(());
    }
    let findings = doctor::examine();
    if args.json {
        print_json(&findings)?;
    } else {
        for finding in &findings {
            println!("{}  {:<16} {}", if finding.ok { "ok     " } else { "MISSING" }, finding.what, finding.detail);
        }
    }
    let missing = findings.iter().filter(|finding| !finding.ok).count();
    if missing > 0 { Err(no(format!("{missing} of {} things are missing", findings.len()))) } else { Ok(()) }
}

impl Model {
    fn find(&self) -> Result<Bundle> {
        if let Some(name) = &self.bundle {
            return Ok(Bundle::find(name)?);
        }
        let desktop = Bundle::find("desktop")?;
        match desktop.encoder_path() {
            Ok(_) => Ok(desktop),
            Err(why) => match Bundle::find("pocket") {
                Ok(pocket) => {
                    eprintln!("{why}. Using the pocket bundle.");
                    Ok(pocket)
                }
                Err(_) => Err(why.into()),
            },
        }
    }

    fn load(&self) -> Result<Classifier> {
        Ok(Classifier::load(self.find()?)?)
    }
}

impl RoundsFrom {
    fn options(&self, rounds_per_game: usize, port: u16) -> Result<ArenaOptions> {
        let rounds = match (&self.fixtures, &self.photos) {
            (_, Some(dir)) => RoundSource::Photos(dir.clone()),
            (Some(dir), None) => RoundSource::Fixtures(dir.clone()),
            (None, None) => RoundSource::Fixtures(fixtures()?),
        };
        Ok(ArenaOptions {
            port,
            rounds_per_game,
            seed: self.seed,
            first_shows: Dialogs { consent: self.dialogs, interstitial: self.dialogs },
            slow_tiles: self.slow_tiles.map(Duration::from_millis),
            ..ArenaOptions::new(rounds)
        })
    }
}

/// The rounds that come with Landfall: beside the executable, or in the source tree.
fn fixtures() -> Result<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join("fixtures")));
    let source_tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(|root| root.join("fixtures"));
    let mut places = beside.into_iter().chain(source_tree);
    places
        .find(|dir| dir.join("rounds").is_dir())
        .ok_or_else(|| wrong("no rounds are found to play; name a folder with --fixtures or --photos"))
}

fn scale(text: &str) -> Result<MapScale, String> {
    let metres: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of metres"))?;
    MapScale::try_from(metres).map_err(|error| error.to_string())
}

fn print_json(value: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn print_json_line(value: &impl serde::Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
