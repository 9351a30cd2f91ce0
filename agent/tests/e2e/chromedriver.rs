//! A chromedriver that a test starts itself, to stand between it and the agent.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use landfall_agent::testing::browser;

/// Chromedriver binds the port that it was given for IPv4 also for IPv6, where another program may use it.
const START_ATTEMPTS: u32 = 5;

/// A running chromedriver, ended when it is dropped.
pub(crate) struct ChromeDriver {
    process: Child,
    /// Without a slash at the end.
    pub(crate) url: String,
}

impl ChromeDriver {
    pub(crate) fn start() -> Self {
        (0..START_ATTEMPTS).find_map(|_| Self::try_start()).expect("chromedriver says which port it uses")
    }

    fn try_start() -> Option<Self> {
        let program = browser::chromedriver().expect("chromedriver is in the PATH");
        let mut process = Command::new(program).arg("--port=0").stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = lines.find_map(|line| {
            line.unwrap().split_once("successfully on port ").map(|(_, port)| port.trim_end_matches('.').to_owned())
        });
        let mut driver = Self { process, url: String::new() };
        driver.url = format!("http://127.0.0.1:{}", port?);
        std::thread::spawn(move || lines.for_each(drop));
        Some(driver)
    }
}

impl Drop for ChromeDriver {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}
