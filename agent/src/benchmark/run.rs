//! Asks a player for all rounds that have no answer yet.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::benchmark::journal::{Answered, Journal, Outcome};
use crate::benchmark::pictures;
use crate::benchmark::player::{Asked, Player};
use crate::benchmark::protocol::Reply;
use crate::benchmark::set::RoundSet;

/// How a player is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunOptions {
    pub time_limit: Duration,
    /// Number of times that a round is repeated after an error.
    pub retries: u32,
    /// Whether rounds that ended with an error are asked again.
    pub retry_errors: bool,
}

impl RunOptions {
    /// Whether a round needs an answer.
    pub(super) fn is_pending(&self, answered: Option<&Answered>) -> bool {
        answered.is_none_or(|answered| self.retry_errors && answered.outcome == Outcome::Error)
    }
}

/// Asks for the pending rounds in order; `on_answer` gets the number of each, from 1, and its answer.
///
/// # Errors
/// When a picture cannot be read or the journal cannot be written. Errors of the player are answers.
pub(crate) async fn play(
    set: &RoundSet,
    player: &mut Player,
    journal: &mut Journal,
    options: RunOptions,
    mut on_answer: impl FnMut(usize, &Answered),
) -> Result<()> {
    for (i, round) in set.rounds.iter().enumerate() {
        if !options.is_pending(journal.of(&round.id)) {
            continue;
        }
        let shown = round.clone();
        let views = tokio::task::spawn_blocking(move || pictures::shown(&shown)).await??;
        let asked = Asked { round: i + 1, rounds: set.rounds.len(), views, time_limit: options.time_limit };
        let start = Instant::now();
        let mut attempts = 0;
        let reply = loop {
            attempts += 1;
            let reply = ask(player, &asked).await;
            if reply.is_ok() || attempts > options.retries {
                break reply;
            }
        };
        let answered = Answered::new(&round.id, reply, attempts, start.elapsed().as_secs_f64());
        on_answer(i + 1, &answered);
        journal.append(answered)?;
    }
    Ok(())
}

async fn ask(player: &mut Player, asked: &Asked) -> Result<Reply, String> {
    let reply = tokio::time::timeout(asked.time_limit, player.ask(asked)).await;
    let reply = reply.unwrap_or_else(|_| Err(format!("no answer within {} s", asked.time_limit.as_secs_f64())));
    if reply.is_err() {
        player.reset();
    }
    reply
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::journal::Header;
    use crate::benchmark::journal::tests::header;
    use crate::benchmark::player::CommandPlayer;
    use crate::benchmark::set::tests::fixtures;

    fn options(retries: u32) -> RunOptions {
        RunOptions { time_limit: Duration::from_secs(1), retries, retry_errors: false }
    }

    #[tokio::test]
    async fn errors_are_retried_and_counted_and_answers_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let set = RoundSet::load(&fixtures(), Some(3)).unwrap();
        // Silent in the first round, answers the second at the second attempt, refuses the third.
        let script = dir.path().join("player.sh");
        let text = "while read -r line; do case \"$line\" in\n\
            *'\"round\":1,'*) ;;\n\
            *'\"round\":2,'*) if [ -e tried ]; then echo '{\"lat\":1,\"lng\":2,\"cost_usd\":0.5}'; else touch tried; exit; fi ;;\n\
            *) echo '{\"refused\":true,\"reason\":\"a face\"}' ;;\nesac; done\n";
        std::fs::write(&script, text.replace("tried", &dir.path().join("tried").display().to_string())).unwrap();
        let command = format!("sh {}", script.display());
        let mut player = Player::Command(CommandPlayer::new(&command, dir.path().join("player.log")).unwrap());
        let file = dir.path().join("answers.jsonl");
        let header = Header { rounds: 3, ..header() };
        let mut journal = Journal::open(&file, &header).unwrap();
        let mut seen = Vec::new();
        let on_answer = |n: usize, answered: &Answered| seen.push((n, answered.outcome, answered.attempts));
        play(&set, &mut player, &mut journal, options(1), on_answer).await.unwrap();
        assert_eq!(seen, [(1, Outcome::Error, 2), (2, Outcome::Answered, 2), (3, Outcome::Refused, 1)]);
        let first = journal.of(&set.rounds[0].id).unwrap();
        assert_eq!(first.reason.as_deref(), Some("no answer within 1 s"));
        assert!(first.seconds >= 2.0, "{first:?}");
        // Nothing is asked again, unless errors are to be.
        let mut again = Vec::new();
        play(&set, &mut player, &mut journal, options(1), |n, _| again.push(n)).await.unwrap();
        let errors = RunOptions { retry_errors: true, ..options(0) };
        play(&set, &mut player, &mut journal, errors, |n, _| again.push(n)).await.unwrap();
        assert_eq!(again, [1]);
    }
}
