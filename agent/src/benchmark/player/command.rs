//! A program that reads questions from standard input and prints answers, one line of JSON each.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use crate::benchmark::pictures::file_name;
use crate::benchmark::player::Asked;
use crate::benchmark::player::process::{CommandLine, PlayerProcess};
use crate::benchmark::protocol::{MAX_ANSWER_BYTES, Question, Reply, parse};

/// A program that is started when it is first asked, and again after an error.
pub(crate) struct CommandPlayer {
    command: CommandLine,
    running: Option<Running>,
}

struct Running {
    process: PlayerProcess,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl CommandPlayer {
    /// A command line, and the file that gets the program's standard error.
    ///
    /// # Errors
    /// When quotes are not closed, or it is empty.
    pub(crate) fn new(command_line: &str, log: PathBuf) -> Result<Self> {
        Ok(Self { command: CommandLine::parse(command_line, log)?, running: None })
    }

    /// Ends the program and all that it started.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Starts the program, so that a wrong name is an error before the first round.
    ///
    /// # Errors
    /// An environment error when it cannot be started.
    pub(crate) fn start(&mut self) -> Result<()> {
        let (process, stdin, stdout) = self.command.start()?;
        self.running = Some(Running { process, stdin, stdout: BufReader::new(stdout) });
        Ok(())
    }

    /// Whether the program can be asked: it runs, and printed nothing that nobody asked for.
    async fn is_ready(&mut self) -> bool {
        let Some(running) = &mut self.running else { return false };
        let is_alive = matches!(running.process.0.try_wait(), Ok(None));
        let printed = tokio::time::timeout(Duration::ZERO, running.stdout.fill_buf()).await;
        is_alive && printed.is_err()
    }

    pub(super) async fn ask(&mut self, asked: &Asked) -> Result<Reply, String> {
        if !self.is_ready().await {
            self.stop();
            self.start().map_err(|error| crate::error::describe(&error))?;
        }
        let reply = self.exchange(asked).await;
        if reply.is_err() {
            self.stop();
        }
        reply
    }

    async fn exchange(&mut self, asked: &Asked) -> Result<Reply, String> {
        let running = self.running.as_mut().ok_or("the player does not run")?;
        // Deleted when the round is over.
        let (_dir, files) = write_pictures(asked).map_err(|error| format!("cannot write the pictures: {error}"))?;
        let question = serde_json::to_string(&Question::new(asked, files)).map_err(|error| error.to_string())?;
        let asking = async {
            running.stdin.write_all(format!("{question}\n").as_bytes()).await?;
            running.stdin.flush().await
        };
        // A program that has answered without reading, or ended, does not take the question.
        let (written, answer) = tokio::join!(asking, read_line(&mut running.stdout));
        let answer = match answer {
            Ok(Some(answer)) => answer,
            Ok(None) => {
                let end = tokio::time::timeout(Duration::from_secs(1), running.process.0.wait()).await;
                let end = end.ok().and_then(Result::ok).map_or_else(String::new, |status| format!(" with {status}"));
                return Err(format!("the player ended{end} without an answer"));
            }
            Err(why) => return Err(why),
        };
        let reply = parse(&answer)?;
        written.map_err(|error| format!("the player does not read the question: {error}"))?;
        if !running.stdout.buffer().is_empty() {
            return Err("the player printed more than one line".to_owned());
        }
        Ok(reply)
    }
}

fn write_pictures(asked: &Asked) -> std::io::Result<(TempDir, Vec<String>)> {
    let dir = tempfile::Builder::new().prefix("landfall-bench-").tempdir()?;
    let mut files = Vec::new();
    for (n, view) in asked.views.iter().enumerate() {
        let file = dir.path().join(file_name(asked.round, n + 1));
        std::fs::write(&file, &view.jpeg)?;
        files.push(file.display().to_string());
    }
    Ok((dir, files))
}

/// A line without its end; `None` at the end of the output.
async fn read_line(output: &mut BufReader<ChildStdout>) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    loop {
        let part = output.fill_buf().await.map_err(|error| format!("the player's output cannot be read: {error}"))?;
        if part.is_empty() {
            return if line.is_empty() { Ok(None) } else { Ok(Some(line)) };
        }
        let end = part.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(part.len(), |end| end + 1);
        line.extend_from_slice(&part[..end.unwrap_or(part.len())]);
        output.consume(taken);
        if line.len() > MAX_ANSWER_BYTES {
            return Err(format!("the answer is longer than {MAX_ANSWER_BYTES} bytes"));
        }
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

#[cfg(unix)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::benchmark::pictures::ShownView;
    use std::time::Instant;

    fn asked(round: usize) -> Asked {
        let views = vec![ShownView { heading_deg: None, jpeg: b"jpeg".to_vec() }];
        Asked { round, rounds: 3, views, time_limit: Duration::from_secs(9) }
    }

    fn player(script: &str, dir: &TempDir) -> CommandPlayer {
        let command = format!("sh -c {}", shlex::try_quote(script).unwrap());
        CommandPlayer::new(&command, dir.path().join("player.log")).unwrap()
    }

    #[tokio::test]
    async fn one_process_answers_all_questions_and_sees_only_the_picture() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"while read -r line; do n=$((n+1)); echo "$line" >&2; echo "{\"lat\":$n,\"lng\":2}"; done"#;
        let mut player = player(script, &dir);
        for n in 1..=3 {
            let Reply::Guess(guess) = player.ask(&asked(n)).await.unwrap() else { panic!() };
            assert_eq!(guess.at.lat, n as f64);
        }
        drop(player);
        let log = std::fs::read_to_string(dir.path().join("player.log")).unwrap();
        let question: serde_json::Value = serde_json::from_str(log.lines().nth(1).unwrap()).unwrap();
        assert_eq!((&question["round"], &question["rounds"]), (&2.into(), &3.into()));
        let picture = std::path::Path::new(question["pictures"][0].as_str().unwrap());
        assert!(picture.ends_with("round-002-view-1.jpg") && !picture.exists(), "{question}");
    }

    #[tokio::test]
    async fn whatever_a_program_does_is_an_error_and_not_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        for (script, why) in [
            ("exit 3", "the player ended with exit status: 3 without an answer"),
            ("read -r line; exit 0", "the player ended with exit status: 0 without an answer"),
            ("read -r line; echo Paris; cat", "not the JSON that was asked for"),
            ("read -r line; printf '{\"lat\":1,\"lng\":2}\\n{\"lat\":1,\"lng\":2}\\n'; cat", "more than one line"),
            ("read -r line; head -c 100000000 /dev/zero; cat", "longer than 1048576 bytes"),
            ("read -r line; echo '{\"lat\":91,\"lng\":2}'; cat", "91, 2 is not a place"),
            ("kill -9 $$", "without an answer"),
        ] {
            let mut player = player(script, &dir);
            let error = player.ask(&asked(1)).await.unwrap_err();
            assert!(error.contains(why), "{script}: {error}");
            // The next question gets a new process, with the same result.
            assert!(player.ask(&asked(1)).await.unwrap_err().contains(why), "{script}");
        }
        let mut nobody = CommandPlayer::new("landfall-no-such-program", dir.path().join("log")).unwrap();
        assert!(nobody.ask(&asked(1)).await.unwrap_err().contains("cannot start the player"));
        assert!(CommandPlayer::new("a 'b", dir.path().join("log")).is_err());
        assert!(CommandPlayer::new(" ", dir.path().join("log")).is_err());
    }

    #[tokio::test]
    async fn a_late_line_is_not_the_answer_to_the_next_question() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"read -r line; echo '{"lat":1,"lng":1}'; sleep 0.2; echo '{"lat":50,"lng":1}'; cat"#;
        let mut player = player(script, &dir);
        player.ask(&asked(1)).await.unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        let Reply::Guess(guess) = player.ask(&asked(2)).await.unwrap() else { panic!() };
        assert_eq!(guess.at.lat, 1.0, "a new process has answered");
    }

    #[tokio::test]
    async fn a_silent_program_ends_with_everything_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let pid_file = dir.path().join("pid");
        let mut player = player(&format!("sleep 600 & echo $! > {}; wait", pid_file.display()), &dir);
        let start = Instant::now();
        assert!(tokio::time::timeout(Duration::from_millis(500), player.ask(&asked(1))).await.is_err());
        player.stop();
        let pid = std::fs::read_to_string(pid_file).unwrap();
        let status = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        while status().contains(" S ") && start.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(!status().contains(" S "), "{}", status());
    }
}
