//! What a profile may contain: it is data from outside. Values have limits, and JavaScript runs only with permission.

use std::borrow::Cow;

use anyhow::Result;
use landfall_common::exit::usage_error;
use url::Url;

use crate::site::Profile;

impl Profile {
    /// An error message if a value is invalid.
    pub(super) fn validation_error(&self) -> Option<Cow<'static, str>> {
        // The name becomes part of directory names.
        let is_name_part = |c: char| !c.is_control() && !"/\\".contains(c);
        if self.name.is_empty() || self.name.len() > 100 || !self.name.chars().all(is_name_part) {
            return Some("name must be 1 to 100 bytes without slashes and control characters".into());
        }
        if !(0.1..=600.0).contains(&self.patience_s) {
            return Some("patience_s must be 0.1 to 600 seconds".into());
        }
        let start = Url::parse("http://localhost/").and_then(|base| base.join(&self.paths.start));
        if !start.is_ok_and(|start| ["http", "https"].contains(&start.scheme())) {
            return Some("paths.start must be a path such as /maps/world; scripts and files are not opened".into());
        }
        let of_score = self.score.validation_error().map(Cow::from);
        of_score.or_else(|| self.look.validation_error().map(Cow::from)).or_else(|| {
            let is_finite = self.map.marker_anchor.iter().all(|part| part.is_finite());
            (!is_finite).then_some("map.marker_anchor must be two numbers".into())
        })
    }

    /// This profile, with its JavaScript permitted if `permitted`. Built-in profiles need no permission.
    #[must_use]
    pub fn permit_scripts(self, permitted: bool) -> Self {
        Self { may_run_scripts: self.may_run_scripts || permitted, ..self }
    }

    /// Checks that the JavaScript of the profile, if any, may run. The guard does so before every action.
    ///
    /// # Errors
    /// When the profile contains JavaScript without permission.
    pub(crate) fn check_scripts(&self) -> Result<()> {
        if self.may_run_scripts || self.look.call.is_none() {
            return Ok(());
        }
        let (file, _) = &self.source;
        Err(usage_error(format!(
            "{file}: look.call is JavaScript, which can do on the page whatever you can; read it and pass \
             --allow-profile-scripts to run it"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::exit_code;
    use crate::site::{BUILT_IN, guard};
    use landfall_common::exit::Exit;

    fn with(from: &str, to: &str) -> Result<Profile> {
        let (_, good) = BUILT_IN[0];
        assert!(good.contains(from), "{from}");
        Profile::parse(&good.replace(from, to), "mine.toml")
    }

    #[test]
    fn scripts_run_only_with_permission() {
        let key = "key = { left = \"a\", right = \"d\", degrees = 15.0 }";
        let profile = with(key, "call = \"viewer.turn(degrees)\"").unwrap();
        let here = Url::parse("http://127.0.0.1:8014/").unwrap();
        let play = |profile: &Profile| guard::check(profile, &here, guard::Consent(true));
        for error in [play(&profile).unwrap_err(), profile.clone().permit_scripts(false).check_scripts().unwrap_err()] {
            assert_eq!(exit_code(&error), Exit::Usage);
            let error = error.to_string();
            assert!(error.starts_with("mine.toml: look.call") && error.contains("--allow-profile-scripts"), "{error}");
        }
        // Also on another origin of this computer, and under the name of a built-in profile.
        assert!(play(&profile.clone().at(&here).unwrap()).is_err());
        assert_eq!(profile.name, "arena");
        let permitted = profile.permit_scripts(true);
        assert!(play(&permitted).is_ok() && play(&permitted.at(&here).unwrap()).is_ok());
        for (name, _) in BUILT_IN {
            Profile::find(name).unwrap().check_scripts().unwrap();
        }
    }

    #[test]
    fn scripts_and_files_are_no_start_pages() {
        let start = |start: &str| with("[paths]", &format!("[paths]\nstart = {start:?}"));
        for good in ["/", "/maps/world", "maps/world", "/play?map=1#x", ""] {
            assert!(start(good).is_ok(), "{good}");
        }
        for bad in [
            "javascript:alert(1)",
            " JavaScript:alert(1)",
            "java\nscript:alert(1)",
            "file:///etc/passwd",
            "FILE:/etc/passwd",
            "data:text/html,x",
            "blob:x",
            "about:blank",
            "view-source:x",
            "chrome://settings",
            "filesystem:x",
            "http://",
            "ftp://example.org/",
        ] {
            let error = start(bad).err().unwrap_or_else(|| panic!("{bad} is taken")).to_string();
            assert!(error.contains("paths.start must be a path"), "{error}");
        }
        // Another site is not opened either.
        let base = Url::parse("http://127.0.0.1:8014").unwrap();
        for away in ["https://www.geoguessr.com/", "//example.org/", "\\\\example.org", "/\\example.org"] {
            assert!(start(away).and_then(|profile| profile.start(&base)).is_err(), "{away}");
        }
    }

    #[test]
    fn values_have_limits() {
        for (from, to, message) in [
            ("name = \"arena\"", "name = \"../../arena\"", "name must be"),
            ("name = \"arena\"", "name = \"..\\\\arena\"", "name must be"),
            ("name = \"arena\"", "name = \"\"", "name must be"),
            // Several keys could name a file that is then uploaded.
            ("left = \"a\"", "left = \"/etc/passwd\"", "look.key"),
            ("left = \"a\"", "left = \"\\uE009\"", "look.key"),
            ("left = \"a\"", "left = \"\\n\"", "look.key"),
            ("right = \"d\"", "right = \"\"", "look.key"),
            ("degrees = 15.0", "degrees = 0.0", "look.key"),
            ("degrees = 15.0", "degrees = nan", "look.key"),
            ("degrees = 15.0", "degrees = 1e-300", "look.key"),
            ("hfov = 100.0", "hfov = 180.0", "look.hfov"),
            ("hfov = 100.0", "hfov = inf", "look.hfov"),
            ("still_ms = 50", "still_ms = 9000000000000", "look.still_ms"),
            ("marker_anchor = [0.5, 1.0]", "marker_anchor = [nan, 1.0]", "map.marker_anchor"),
        ] {
            let error = with(from, to).err().unwrap_or_else(|| panic!("{to} is taken")).to_string();
            assert!(error.starts_with("mine.toml: ") && error.contains(message), "{to}: {error}");
        }
        with("left = \"a\", right = \"d\"", "left = \"\\uE012\", right = \"\\uE014\"").unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# ".repeat(1 << 20)).unwrap();
        let error = format!("{:#}", Profile::find(file.path().to_str().unwrap()).unwrap_err());
        assert!(error.contains("larger than 1024 KiB"), "{error}");
    }
}
