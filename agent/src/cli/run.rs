//! Running the commands, and printing what comes of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use console::Term;
use landfall_agent::area::Area;
use landfall_agent::arena::{Arena, ArenaOptions, RoundSource};
use landfall_agent::browser::{self, BrowserOptions};
use landfall_agent::failure::{no, surroundings, wrong};
use landfall_agent::game::{self, Game, News, PlayOptions, Sender};
use landfall_agent::plain::{self, say};
use landfall_agent::record::{self, Round};
use landfall_agent::replay::{self, Expected};
use landfall_agent::report::Report;
use landfall_agent::site;
use landfall_agent::site::guard::{self, Consent};
use landfall_agent::site::page::Page;
use landfall_agent::stats::pairs::paired;
use landfall_agent::terminal::{Mark, Spot};
use landfall_agent::{doctor, parallel};
use landfall_model::{Bundle, Classifier, LatLng};
use thirtyfour::WebDriver;
use url::Url;

use super::arena::{arena, fixtures};
use super::drawing::Pencil;
use super::print::{print_json, print_line, print_text};
use super::report::report;
use super::serve::serve;
use super::site::profile_and_address;
use super::stats::print_paired;
use super::{Cli, Command, Doctor, Model, Play, Replay};

/// Runs the command that was typed.
pub(crate) async fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Play(args) => play(*args).await,
        // What computes without a pause goes off the thread that listens for Ctrl-C.
        Command::Locate(args) => tokio::task::spawn_blocking(move || super::locate::locate(&args)).await?,
        Command::Replay(args) => tokio::task::spawn_blocking(move || replay(&args)).await?,
        Command::Report(args) => tokio::task::spawn_blocking(move || report(&args)).await?,
        Command::Export(args) => tokio::task::spawn_blocking(move || super::export::export(&args)).await?,
        Command::Stats(args) => tokio::task::spawn_blocking(move || super::stats::stats(&args)).await?,
        Command::Arena(args) => arena(args).await,
        Command::Serve(args) => serve(args).await,
        #[cfg(feature = "screen")]
        Command::Watch(args) => tokio::task::spawn_blocking(move || super::watch::watch(&args)).await?,
        Command::Doctor(args) if args.schema => print_text(site::schema()?.trim_end()),
        Command::Doctor(args) if args.url.is_some() || args.site.is_some() || args.base_url.is_some() => {
            doctor_of_site(*args).await
        }
        Command::Doctor(args) => tokio::task::spawn_blocking(move || doctor(&args)).await?,
        Command::Probe(args) => super::probe::run(args).await,
    }
}

async fn play(args: Play) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let site = args.site.as_deref().or_else(|| args.rounds_from.site());
    let (mut profile, url) = profile_and_address(site, args.url, args.base_url.as_ref())?;
    if let Some(url) = &url {
        guard::check(&profile, url, consent)?; // before anything is loaded or opened
        if args.rounds_from.any() {
            return Err(wrong(
                "--fixtures, --photos, --seed, --dialogs, --structure and --slow-tiles are for the arena, not for an address",
            ));
        }
    }
    if let Some(url) = url.as_ref().filter(|_| args.parallel > 1) {
        profile = parallel::confined(profile, url)?;
    }
    if profile.needs_consent && args.games > 1 {
        return Err(wrong("--games is for the arena and for sites of your own: one game at a time here"));
    }
    let area = Area { countries: args.country, bounds: None };
    area.check()?;
    let pencil = args.drawing.on(Term::stderr(), args.json || args.parallel > 1)?;
    let classifier = Arc::new(args.model.load()?);
    let (arena, url) = match url {
        Some(url) => (None, url),
        None => {
            let arena = Arena::start(args.rounds_from.options(args.rounds as usize, 0)?).await?;
            arena.notes().iter().for_each(|note| say(format!("arena: {note}")));
            let base = Url::parse(arena.url())?;
            if args.rounds_from.site().is_some() {
                profile = profile.at(&base)?;
            }
            (Some(arena), profile.start(&base)?)
        }
    };
    if profile.needs_consent {
        let shown = guard::bare(&url);
        say(format!("{shown}: playing by machine may be against this site's terms; that is between you and the site."));
    }
    let headed = args.headed || args.assist;
    let browser =
        BrowserOptions { webdriver: args.webdriver, attach: args.attach, headed, ..BrowserOptions::default() };
    let options = PlayOptions {
        browser,
        runs: args.runs,
        scale: args.scale,
        area,
        rounds: args.rounds,
        max_pin_error_m: args.max_pin_error * 1000.0,
        sender: if args.assist { Sender::Person } else { Sender::Agent },
        time_budget: args.time_budget.map(Duration::from_secs_f64),
        min_gain: args.min_gain,
    };
    let pause = Duration::from_secs_f64(args.pause);
    if args.parallel > 1 {
        let (at_once, options) = (args.parallel, &options);
        let count = args.games.max(at_once);
        let games = parallel::Games { profile, url, count, at_once, pause, classifier, options };
        let played = super::parallel::play(games, args.json).await;
        if let Some(arena) = arena {
            arena.stop().await;
        }
        return played;
    }
    let games = Games { url, count: args.games, pause, json: args.json, pencil };
    let driver = browser::open(&options.browser).await?;
    let (driver, played) = match Page::open(driver.clone(), profile, &games.url, consent).await {
        Ok(mut page) => {
            let played = games.play(&mut page, &classifier, &options).await;
            (page.driver, played) // which may be another by now
        }
        Err(error) => (driver, Err(error)),
    };
    let closed = close(driver, &options.browser, arena).await;
    let disagreement = played?;
    closed?;
    match disagreement {
        Some(what) => Err(no(what)),
        None => Ok(()),
    }
}

/// Ends the browser, and the arena where there is one.
pub(super) async fn close(driver: WebDriver, options: &BrowserOptions, arena: Option<Arena>) -> Result<()> {
    let closed = browser::bury(driver, options).await;
    if let Some(arena) = arena {
        arena.stop().await;
    }
    closed.then_some(()).ok_or_else(|| surroundings("the browser did not close"))
}

/// Games that are played one after another.
struct Games {
    url: Url,
    count: u32,
    pause: Duration,
    json: bool,
    pencil: Pencil,
}

/// What is known of the round that is played, until it is over.
#[derive(Default)]
struct Drawn {
    heat: Vec<Spot>,
    pictures: Vec<PathBuf>,
}

impl Games {
    /// Plays them all and prints each. The first count that the page and we do not agree on, if there is one.
    async fn play(
        &self,
        page: &mut Page,
        classifier: &Arc<Classifier>,
        options: &PlayOptions,
    ) -> Result<Option<String>> {
        let mut first = None;
        for n in 0..self.count {
            if n > 0 {
                tokio::time::sleep(self.pause).await;
                page.go(&self.url).await?;
            }
            let mut drawn = Drawn::default();
            let told = |news: News<'_>| self.tell(news, &mut drawn);
            let game = game::play(page, Arc::clone(classifier), options, told).await?;
            if self.json {
                print_json(&game)?;
            } else {
                print_game(&game)?;
            }
            first = first.or_else(|| disagreement(&game));
        }
        Ok(first)
    }

    fn tell(&self, news: News<'_>, drawn: &mut Drawn) {
        match news {
            News::Decided { heat, pictures } => *drawn = Drawn { heat, pictures },
            News::Unreported(why) => say(format!("no report: {why}")),
            News::Over(round) => {
                self.draw(round, drawn);
                say(line(round));
            }
            News::Failed(failed) => {
                let then = if failed.sent { "its guess was sent, so the game goes on" } else { "once more" };
                say(format!("round {} failed: {}; {then}", failed.n, failed.why));
            }
            News::Set(round) => {
                self.draw(round, drawn);
                let expected = round.expected_score.unwrap_or_default();
                say(format!("round {}  {}", round.n.unwrap_or_default(), round.place.as_deref().unwrap_or("?")));
                for cell in round.top.iter().take(5) {
                    let country =
                        landfall_model::countries::at_or_near(cell.at, 20_000.0).map_or("at sea", |it| it.name);
                    eprintln!("  {:>5.1} %  {:<28} {}", 100.0 * cell.p, country, cell.at);
                }
                eprintln!("  The pin promises {expected:.0} points. Move it if you know better, then send the guess.");
            }
        }
    }

    /// The views and the map, with the truth where it is known by now; views once a round.
    fn draw(&self, round: &Round, drawn: &mut Drawn) {
        let guess = round.placed();
        let marks: Vec<(Mark, LatLng)> = [(Mark::Truth, round.truth), (Mark::Guess, guess)]
            .into_iter()
            .filter_map(|(mark, at)| Some((mark, at?)))
            .collect();
        let pictures = std::mem::take(&mut drawn.pictures);
        // A terminal that fails is no reason to end a game.
        _ = self
            .pencil
            .files(pictures.iter().map(PathBuf::as_path))
            .and_then(|()| self.pencil.map(&drawn.heat, &marks));
    }
}

/// The page and we must count the same, in each round and in all.
pub(super) fn disagreement(game: &Game) -> Option<String> {
    let name = |round: &Round| format!("round {}", round.n.unwrap_or_default());
    let rounds = game.rounds.iter().map(|round| (name(round), round.score, round.page_score));
    rounds.chain([("the game".to_owned(), game.score, game.page_score)]).find_map(|(what, ours, theirs)| {
        let (ours, theirs) = ours.zip(theirs).filter(|(ours, theirs)| ours != theirs)?;
        Some(format!("{what}: we count {ours} points, the page {theirs}: is the map's scale right?"))
    })
}

pub(super) fn line(round: &Round) -> String {
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

pub(super) fn print_game(game: &Game) -> Result<()> {
    print_line(format!("{} on {}, {}", game.bundle, game.map.name, game.site))?;
    game.rounds.iter().try_for_each(|round| print_line(line(round)))?;
    let points = |points: Option<u32>| points.map_or_else(|| "?".to_owned(), |points| points.to_string());
    let most = game.map.max_points * game.rounds.len() as f64;
    print_line(format!("total: ours {}, page {} of {most}", points(game.score), points(game.page_score)))?;
    print_line(format!("record: {}", game.record.display()))
}

fn replay(args: &Replay) -> Result<()> {
    // What is wrong with it is said before the work.
    let (expected, rival) = match args.against.as_deref() {
        Some(file) if file.ends_with(".json") => (Some(Expected::read(Path::new(file))?), None),
        Some(bundle) => (None, Some(Bundle::find(bundle)?)),
        None => (None, None),
    };
    let bundle = args.model.find()?;
    let mut result = replay::replay(&args.dir, bundle.clone(), args.from)?;
    if let Some(rival) = rival {
        let rival = replay::replay(&args.dir, rival, args.from)?;
        result.against = Some(paired(&result, &rival)?);
    }
    if let Some(expected) = &expected {
        result.hold_against(expected, args.from)?;
    }
    if args.record {
        result.record(&args.dir)?;
    }
    if let Some(file) = &args.report {
        Report::of_replay(&args.dir, &result, &bundle).write(file)?;
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
            let (place, points) = (round.place.as_deref().unwrap_or("?"), round.score.unwrap_or_default());
            print_line(format!("{:<40} {place:<44} {far:>6} km  {points:>4}", plain::name(&replayed.dir)))?;
        }
        let expected = result.expected.map_or_else(String::new, |points| format!(", expected {points}"));
        print_line(format!("total: {}{expected}", result.score))?;
        if let Some(paired) = &result.against {
            print_paired(&result.bundle, paired)?;
        }
    }
    result.verdict(args.from)
}

fn doctor(args: &Doctor) -> Result<()> {
    if args.bench {
        let milliseconds = doctor::encoder_ms(args.model.find()?)?;
        if args.json {
            return print_json(&serde_json::json!({"encoder_ms": milliseconds}));
        }
        return print_line(format!("{milliseconds:.1} ms a view, one thread"));
    }
    let findings = doctor::examine();
    if args.json {
        print_json(&findings)?;
    } else {
        for finding in &findings {
            let state = if finding.ok { "ok     " } else { "MISSING" };
            print_line(format!("{state}  {:<16} {}", finding.what, finding.detail))?;
        }
    }
    let missing = findings.iter().filter(|finding| !finding.ok).count();
    if missing > 0 { Err(no(format!("{missing} of {} things are missing", findings.len()))) } else { Ok(()) }
}

/// Tries a site's profile on its page.
async fn doctor_of_site(args: Doctor) -> Result<()> {
    let consent = Consent(args.i_own_this_account);
    let (profile, url) = profile_and_address(args.site.as_deref(), args.url, args.base_url.as_ref())?;
    let (arena, url) = match url {
        Some(url) => (None, url),
        None => {
            let arena = Arena::start(ArenaOptions::new(RoundSource::Fixtures(fixtures()?))).await?;
            let url = Url::parse(arena.url())?;
            (Some(arena), url)
        }
    };
    guard::check(&profile, &url, consent)?;
    let options = BrowserOptions { webdriver: args.webdriver, ..BrowserOptions::default() };
    let driver = browser::open(&options).await?;
    let examined = match Page::open(driver.clone(), profile, &url, consent).await {
        Ok(page) => doctor::site::examine(&page, &args.picture).await,
        Err(error) => Err(error),
    };
    let closed = close(driver, &options, arena).await;
    let findings = examined?;
    if args.json {
        print_json(&findings)?;
    } else {
        for finding in &findings {
            let state = if finding.ok { "ok     " } else { "DEAD   " };
            print_line(format!("{state}  {:<16} {}", finding.role, finding.detail))?;
        }
        print_line(format!("picture: {}", args.picture.display()))?;
    }
    closed?;
    match findings.iter().filter(|finding| !finding.ok).count() {
        0 => Ok(()),
        dead => Err(no(format!("{dead} things that a round needs are not found; mend the profile"))),
    }
}

impl Model {
    fn find(&self) -> Result<Bundle> {
        if let Some(name) = &self.bundle {
            return Ok(Bundle::find(name)?);
        }
        let desktop = Bundle::find("desktop")?;
        // Absent, not damaged: what is damaged is said when it is loaded.
        if desktop.manifest.encoder.is_absent(&desktop.dir)
            && let Ok(pocket) = Bundle::find("pocket")
        {
            eprintln!("The desktop bundle's encoder is absent (`cargo xtask setup` gets it): using the pocket bundle.");
            return Ok(pocket);
        }
        Ok(desktop)
    }

    pub(super) fn load(&self) -> Result<Classifier> {
        Ok(Classifier::load(self.find()?)?)
    }
}
