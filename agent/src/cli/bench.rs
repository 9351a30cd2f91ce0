//! `bench`: measures a player on a fixed set of rounds, and compares two results.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use indicatif::DecimalBytes;
use landfall_common::exit::{check_failed, environment_error, usage_error};
use landfall_common::fs::{write_atomic, write_json};
use landfall_common::text::{eprint_sanitized, sanitize_line};
use landfall_model::Bundle;

use crate::benchmark::{
    Answered, Baseline, BenchResult, BrowserRun, BundlePlayer, CommandPlayer, Comparison, FROZEN_NAME, FetchPlan,
    Header, HttpPlayer, Journal, MARKDOWN_HEADER, McpPlayer, Outcome, Player, PlayerId, PlayerSpec, RoundSet,
    RunOptions, SetSource, compare, frozen, hash_of, html, play, play_in_browser, play_person, read_manifest,
    read_result, summarize,
};
use crate::cli::args::{BrowserArgs, ModelArgs, duration, fixtures};
use crate::cli::output::{check_output_dir, print_json, print_line};
use crate::server::arena::RoundSource;

#[derive(Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  landfall bench --player pocket\n  landfall bench --player 'python3 my_agent.py' --time-limit 60s\n  landfall bench --player http://127.0.0.1:8090/v1/locate --name laptop\n  landfall bench --player person\n  landfall bench compare bench/fixtures-desktop bench/fixtures-pocket\n  landfall bench table bench/*"
)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    command: Option<BenchCommand>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Subcommand)]
enum BenchCommand {
    /// Compare two players on the same rounds
    Compare(CompareArgs),
    /// Print the results of several players as a Markdown table
    Table(TableArgs),
    /// Download the pictures of a set
    Fetch(FetchArgs),
}

#[derive(Args)]
struct SetArgs {
    /// Rounds to play: `fixtures`, `frozen`, or a manifest (FILE) with the URLs and hashes of its pictures
    ///
    /// `fixtures` are the recorded rounds beside the program or in its source tree, else those in the program, which are fewer
    /// and therefore another set. `frozen` is the manifest in the program, of openly licensed photographs from repositories without a
    /// training image. Pictures of a manifest are downloaded only by `bench fetch` or with --fetch.
    #[arg(long, value_name = "NAME|FILE", default_value = "fixtures", help_heading = "Rounds")]
    rounds_set: String,
    /// Directory of recorded rounds, for --rounds-set fixtures
    #[arg(long, value_name = "DIR", help_heading = "Rounds")]
    fixtures: Option<PathBuf>,
}

#[derive(Args)]
struct RunArgs {
    /// Who plays: a bundle, a program, a service, or a baseline
    ///
    /// NAME or DIR of a bundle; a command line, which gets one question per line on standard input; http(s)://…, to which
    /// questions are posted (with the path /v1/locate, the API of `landfall serve --api` is spoken); mcp:COMMAND, a server of the
    /// Model Context Protocol with a tool `locate`; constant[:LAT,LNG], the
    /// same point in every round; prior, a random place by the density of photographs; person, who plays in the arena. The
    /// prefixes bundle: and command: decide where a name could be either. docs/bench.md describes questions and answers.
    #[arg(long, value_name = "PLAYER", default_value = "pocket")]
    player: String,
    /// Name of the player in tables [default: derived from --player]
    #[arg(long)]
    name: Option<String>,
    #[command(flatten)]
    set: SetArgs,
    /// Play only the first rounds of the set
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Rounds")]
    rounds: Option<u32>,
    /// Download pictures of the set that are missing
    #[arg(long, help_heading = "Rounds")]
    fetch: bool,
    /// Time limit per round, as in 90s; the first round includes the start of a program
    #[arg(long, value_name = "DURATION", value_parser = limit, default_value = "2m", help_heading = "Play")]
    time_limit: Duration,
    /// Number of times that a round is repeated after an error
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(..=100), help_heading = "Play")]
    retries: u32,
    /// Ask again for rounds that ended with an error in an earlier run
    #[arg(long, help_heading = "Play")]
    retry_errors: bool,
    /// Play through the arena in a real browser; bundles only
    #[arg(long, conflicts_with = "no_browser", help_heading = "Play")]
    arena: bool,
    /// Give the pictures to the player directly (the default)
    #[arg(long, help_heading = "Play")]
    no_browser: bool,
    /// File with a bearer token for a service
    #[arg(long, value_name = "FILE", help_heading = "Play")]
    token_file: Option<PathBuf>,
    /// Random seed of the player `prior`
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Play")]
    seed: u64,
    /// Port of the arena for a person; 0 picks a free one
    #[arg(long, default_value_t = 0, help_heading = "Play")]
    port: u16,
    #[command(flatten)]
    browser: BrowserArgs,
    /// Directory of the run, which is continued if it exists [default: bench/SET-PLAYER]
    ///
    /// It gets answers.jsonl, result.json and report.html, and player.log with the standard error of a program.
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Discard the answers of an earlier run
    #[arg(long, help_heading = "Output")]
    restart: bool,
    /// Print the result as one JSON object
    #[arg(long, conflicts_with = "markdown", help_heading = "Output")]
    json: bool,
    /// Print the result as a Markdown table
    #[arg(long, help_heading = "Output")]
    markdown: bool,
}

#[derive(Args)]
#[command(after_help = "Example: landfall bench compare bench/fixtures-desktop bench/fixtures-pocket")]
struct CompareArgs {
    /// Directory of a finished run, or its result.json
    a: PathBuf,
    /// Directory of another run on the same rounds
    b: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "Example: landfall bench table bench/fixtures-*")]
struct TableArgs {
    /// Directories of finished runs
    #[arg(required = true, value_name = "DIR")]
    runs: Vec<PathBuf>,
    /// Print the results as a JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
#[command(after_help = "Example: landfall bench fetch --rounds-set my-rounds.jsonl")]
struct FetchArgs {
    #[command(flatten)]
    set: SetArgs,
    /// Say what would be downloaded
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn limit(text: &str) -> Result<Duration, String> {
    let limit = duration(text)?;
    if limit.is_zero() { Err("a round needs some time".to_owned()) } else { Ok(limit) }
}

pub(super) async fn run(args: BenchArgs) -> Result<()> {
    match args.command {
        Some(BenchCommand::Compare(args)) => run_compare(&args),
        Some(BenchCommand::Table(args)) => run_table(&args),
        Some(BenchCommand::Fetch(args)) => run_fetch(args).await,
        None => run_bench(args.run).await,
    }
}

impl SetArgs {
    fn source(&self) -> Result<SetSource> {
        if self.rounds_set == "fixtures" {
            let dir = self.fixtures.clone().map(RoundSource::Fixtures);
            return Ok(SetSource::Fixtures(dir.map_or_else(fixtures, Ok)?));
        }
        if self.fixtures.is_some() {
            return Err(usage_error("--fixtures applies to --rounds-set fixtures only"));
        }
        if self.rounds_set == FROZEN_NAME {
            return Ok(SetSource::Manifest { name: FROZEN_NAME.to_owned(), rounds: frozen()? });
        }
        let file = Path::new(&self.rounds_set);
        let name = file.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(SetSource::Manifest { name, rounds: read_manifest(file)? })
    }
}

/// The pocket bundle, whose table of cells the baselines use.
fn pocket() -> Result<Bundle> {
    Ok(Bundle::find("pocket")?)
}

async fn run_bench(args: RunArgs) -> Result<()> {
    let spec = PlayerSpec::parse(&args.player)?;
    if args.arena && !matches!(spec, PlayerSpec::Bundle(_)) {
        return Err(usage_error("--arena applies to bundles; other players get their pictures without a browser"));
    }
    let source = args.set.source()?;
    if let SetSource::Manifest { rounds, .. } = &source {
        let plan = FetchPlan::of(rounds)?;
        if args.fetch {
            fetch(&plan).await?;
        } else if !plan.missing.is_empty() {
            let (missing, size) = (plan.missing.len(), DecimalBytes(plan.bytes()));
            return Err(usage_error(format!(
                "{missing} of {} pictures of the set were not fetched; `landfall bench fetch --rounds-set {}`, or --fetch, downloads them ({size})",
                plan.all, args.set.rounds_set
            )));
        }
    }
    let limit = args.rounds.map(|rounds| rounds as usize);
    let set = tokio::task::spawn_blocking(move || RoundSet::load(&source, limit)).await??;
    let name = args.name.clone().unwrap_or_else(|| spec.name());
    let out =
        args.out.clone().unwrap_or_else(|| Path::new("bench").join(format!("{}-{}", slug(&set.name), slug(&name))));
    check_output_dir(&out)?;
    std::fs::create_dir_all(&out).with_context(|| environment_error(format!("cannot create {}", out.display())))?;
    let options = RunOptions { time_limit: args.time_limit, retries: args.retries, retry_errors: args.retry_errors };
    let through = if args.arena || spec == PlayerSpec::Person { "browser" } else { "direct" };
    let id = |detail: String| PlayerId { kind: spec.kind().to_owned(), name: name.clone(), detail };
    let header = |detail: String| Header::new(&set, id(detail), through, args.time_limit.as_secs_f64(), args.retries);
    let answers = out.join("answers.jsonl");
    if args.restart {
        Journal::discard(&answers)?;
    }
    let print = |n: usize, answered: &Answered| eprint_sanitized(progress(n, &set, answered));
    let (header, journal) = match &spec {
        PlayerSpec::Person => {
            let header = header(String::new());
            let mut journal = Journal::open(&answers, &header)?;
            let on_start = |url: &str| {
                eprintln!("Open this URL in a browser and play all rounds. Ctrl-C pauses; the same command continues.");
                print_line(url)
            };
            play_person(&set, args.port, &mut journal, options, on_start, print).await?;
            (header, journal)
        }
        PlayerSpec::Bundle(bundle) => {
            let model = ModelArgs { bundle: Some(bundle.clone()) };
            let classifier = Arc::new(tokio::task::spawn_blocking(move || model.load()).await??);
            let header = header(classifier.bundle.manifest.id());
            let mut journal = Journal::open(&answers, &header)?;
            if args.arena {
                let run = BrowserRun { classifier, browser: args.browser.into_options(), records: out.join("games") };
                play_in_browser(&set, run, &mut journal, options, print).await?;
            } else {
                let mut player = Player::Bundle(BundlePlayer(classifier));
                play(&set, &mut player, &mut journal, options, print).await?;
            }
            (header, journal)
        }
        other => {
            let (mut player, detail) = match other {
                PlayerSpec::Prior => {
                    (Player::Baseline(Baseline::prior(&pocket()?, args.seed)), format!("seed {}", args.seed))
                }
                PlayerSpec::Constant(Some(at)) => (Player::Baseline(Baseline::Constant(*at)), at.to_string()),
                PlayerSpec::Http(url) => {
                    let token = args.token_file.as_deref().map(read_token).transpose()?;
                    (Player::Http(HttpPlayer::new(url.clone(), token)?), hash_of(url.as_str()))
                }
                PlayerSpec::Mcp(line) => (Player::Mcp(McpPlayer::new(line, out.join("player.log"))?), hash_of(line)),
                PlayerSpec::Command(line) => {
                    let mut player = CommandPlayer::new(line, out.join("player.log"))?;
                    player.start()?;
                    (Player::Command(player), hash_of(line))
                }
                _ => {
                    let constant = Baseline::best_constant(&pocket()?);
                    let constant = constant.context("the bundle pocket has no cells")?;
                    let detail = constant.to_string();
                    (Player::Baseline(constant), detail)
                }
            };
            let header = header(detail);
            let mut journal = Journal::open(&answers, &header)?;
            play(&set, &mut player, &mut journal, options, print).await?;
            (header, journal)
        }
    };
    let result = summarize(&set, &header, &journal).context("a round has no answer: run the command again")?;
    let page = {
        let (set, result) = (set.clone(), result.clone());
        tokio::task::spawn_blocking(move || html(&set, &result)).await??
    };
    write_json(&out.join("result.json"), &result)?;
    write_atomic(&out.join("report.html"), page.as_bytes())?;
    if args.json {
        print_json(&result)?;
    } else if args.markdown {
        print_line(MARKDOWN_HEADER)?;
        print_line(result.markdown_row())?;
    } else {
        print_result(&result, &out)?;
    }
    if result.answered == 0 {
        return Err(check_failed("the player answered no round; the report has the reasons"));
    }
    Ok(())
}

/// A bearer token: the first line of a file.
fn read_token(file: &Path) -> Result<String> {
    let text = landfall_common::fs::read_limited(file, 64 << 10)?;
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let is_token = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    is_token.then_some(text).ok_or_else(|| usage_error(format!("{}: not a token on one line", file.display())))
}

/// A part of a directory's name.
fn slug(text: &str) -> String {
    let kept = |c: char| if c.is_alphanumeric() || c == '_' { c } else { '-' };
    let slug: String = text.chars().map(kept).take(60).collect();
    slug.split('-').filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
}

fn progress(n: usize, set: &RoundSet, answered: &Answered) -> String {
    let all = set.rounds.len();
    let what = match (answered.outcome, answered.guess) {
        (Outcome::Answered, Some(at)) => {
            let distance_m = set.rounds.get(n - 1).map_or(0.0, |round| at.distance_m(round.first.truth));
            format!("{:>6.0} km", distance_m / 1000.0)
        }
        (Outcome::Refused, _) => format!("refused: {}", answered.reason.as_deref().unwrap_or_default()),
        _ => format!("failed: {}", answered.reason.as_deref().unwrap_or_default()),
    };
    format!("round {n:>3} of {all}  {what}  {:.2} s", answered.seconds)
}

fn print_result(result: &BenchResult, out: &Path) -> Result<()> {
    let points = &result.points;
    let interval =
        points.low.zip(points.high).map_or_else(String::new, |(low, high)| format!(" ({low:.0} to {high:.0})"));
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    print_line(format!("{} on {}, {} rounds", result.run.player.name, result.run.set, result.run.rounds))?;
    print_line(format!("points per round  {:.0}{interval}", points.mean))?;
    print_line(format!("median distance   {:.0} km", result.median_km))?;
    let within: Vec<String> =
        result.within_km.iter().map(|(km, share)| format!("{km} km {}", percent(*share))).collect();
    print_line(format!("within            {}", within.join(", ")))?;
    print_line(format!("right country     {}", percent(result.country)))?;
    if let Some(confidence) = &result.confidence {
        print_line(format!(
            "confidence        {} within 750 km on average, and {} were; ECE {:.3}, Brier {:.3}",
            percent(confidence.mean),
            percent(confidence.came_true),
            confidence.ece,
            confidence.brier
        ))?;
    }
    if result.refused + result.errors > 0 {
        print_line(format!("without a guess   {} refused, {} failed", result.refused, result.errors))?;
    }
    print_line(format!("seconds per round {:.2} (95 % within {:.2})", result.seconds.median, result.seconds.p95))?;
    if let Some(cost) = result.cost {
        print_line(format!("cost              {:.4} USD in {} rounds", cost.usd, cost.rounds))?;
    }
    print_line(format!("report            {}", out.join("report.html").display()))
}

fn run_compare(args: &CompareArgs) -> Result<()> {
    let compared = compare(&read_result(&args.a)?, &read_result(&args.b)?)?;
    if args.json {
        return print_json(&compared);
    }
    let Comparison { a, b, rounds, difference, is_significant, won, lost, even } = &compared;
    let (a, b) = (sanitize_line(a), sanitize_line(b));
    let interval = difference
        .low
        .zip(difference.high)
        .map_or_else(String::new, |(low, high)| format!(" ({low:+.0} to {high:+.0})"));
    print_line(format!("{a} minus {b}: {:+.0} points per round{interval}, {rounds} rounds", difference.mean))?;
    print_line(format!("{a} scored more in {won} rounds, less in {lost}, the same in {even}"))?;
    print_line(if *is_significant { "The 95 % interval excludes 0." } else { "The 95 % interval includes 0." })
}

fn run_table(args: &TableArgs) -> Result<()> {
    let results: Vec<BenchResult> = args.runs.iter().map(|run| read_result(run)).collect::<Result<_>>()?;
    if args.json {
        return print_json(&results);
    }
    let sets = |result: &BenchResult| (result.run.set_sha256.clone(), result.run.rounds);
    if results.iter().any(|result| sets(result) != sets(&results[0])) {
        return Err(usage_error("the results are of different sets of rounds, which do not belong in one table"));
    }
    print_line(MARKDOWN_HEADER)?;
    results.iter().try_for_each(|result| print_line(result.markdown_row()))
}

async fn run_fetch(args: FetchArgs) -> Result<()> {
    let SetSource::Manifest { rounds, .. } = args.set.source()? else {
        return Err(usage_error("the fixtures need no download; name a manifest with --rounds-set"));
    };
    let plan = FetchPlan::of(&rounds)?;
    if args.json {
        print_json(&serde_json::json!({
            "pictures": plan.all, "missing": plan.missing.len(), "bytes": plan.bytes(),
            "directory": crate::benchmark::picture_dir()?,
        }))?;
    } else {
        let (missing, size) = (plan.missing.len(), DecimalBytes(plan.bytes()));
        print_line(format!("{missing} of {} pictures are missing, {size}", plan.all))?;
    }
    if args.dry_run { Ok(()) } else { fetch(&plan).await }
}

async fn fetch(plan: &FetchPlan) -> Result<()> {
    let all = plan.missing.len();
    let failures = plan.fetch(|n| eprintln!("picture {n} of {all}")).await?;
    failures.iter().for_each(|why| eprint_sanitized(format!("landfall: {why}")));
    match failures.len() {
        0 => Ok(()),
        n => {
            Err(environment_error(format!("{n} of {all} pictures could not be downloaded; the same command continues")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directories_are_no_paths() {
        assert_eq!(slug("fixtures, first 3 of 47"), "fixtures-first-3-of-47");
        assert_eq!(slug("../../etc"), "etc");
    }
}
