//! The checks of `doctor`: which browser and driver are found, whether they fit, and whether the browser starts.

use crate::browser::discovery::{HOW_TO_INSTALL, chromedriver, chromium, installed};
use crate::browser::explain::difference;
use crate::browser::session::{BrowserOptions, open, shutdown};
use crate::browser::version;
use crate::error::describe;

/// Checks the browser and its driver, and opens a page once. Returns a name and what was found, or what to do, per check.
pub(crate) async fn examine() -> Vec<(&'static str, Result<String, String>)> {
    let mut browsers: Vec<_> = installed().unwrap_or_default().into_iter().map(|found| found.browser).collect();
    if browsers.is_empty() {
        browsers.extend(chromium());
    }
    // The first that is usable is opened; those before it are named.
    let (mut unusable, mut browser) = (Vec::new(), None);
    for file in browsers {
        match version::of_program(&file).await {
            Ok(version) => {
                browser = Some((file, version));
                break;
            }
            Err(why) => unusable.push(why),
        }
    }
    let absent = format!("not on PATH; {HOW_TO_INSTALL}");
    let named = |file: &std::path::Path, version: &Option<version::Version>| match version {
        Some(version) => format!("{} (version {})", file.display(), version.text),
        None => format!("{} (unknown version)", file.display()),
    };
    let driver = match chromedriver() {
        None => Err(absent.clone()),
        Some(file) => version::of_program(&file).await.and_then(|version| {
            let fits = browser.as_ref().and_then(|(_, of_browser)| difference(of_browser.as_ref()?, version.as_ref()?));
            fits.map_or_else(|| Ok(named(&file, &version)), |why| Err(format!("{}: {why}", file.display())))
        }),
    };
    let is_complete = browser.is_some() && driver.is_ok();
    let browser = match browser {
        Some((file, version)) => {
            let before = if unusable.is_empty() { String::new() } else { format!("; {}", unusable.join("; ")) };
            Ok(named(&file, &version) + before.as_str())
        }
        None if unusable.is_empty() => Err(absent),
        None => Err(format!("{}; install Chromium or Chrome", unusable.join("; "))),
    };
    let mut checks = vec![("chromium", browser), ("chromedriver", driver)];
    if is_complete {
        checks.push(("browser", opens().await.map_err(|error| describe(&error))));
    }
    checks
}

async fn opens() -> anyhow::Result<String> {
    let options = BrowserOptions::default();
    let driver = open(&options).await?;
    let loaded = driver.goto("data:text/html,<title>Landfall</title>").await;
    let title = driver.title().await;
    shutdown(driver, &options).await;
    loaded?;
    let is_shown = title? == "Landfall";
    is_shown.then(|| "opens a page".to_owned()).ok_or_else(|| anyhow::anyhow!("the browser shows no page"))
}
