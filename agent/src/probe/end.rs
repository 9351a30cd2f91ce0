//! Learns from several rounds which number is the running total, how the game ends, and the score formula.

use std::cmp::Reverse;
use std::collections::HashSet;

use anyhow::Result;

use crate::probe::observe;
use crate::probe::observe::NumberText;
use crate::probe::result::ResultDisplay;
use crate::probe::{ObservedRound, Probe, button_locators, score_formula};
use crate::record::Distance;
use crate::site::page::{GuessSubmitted, points_by_word, read_points, whole_number};
use crate::site::profile::locator::Locators;

/// Points and distance of a round, as far as the page shows them.
pub(super) type Shown = (Option<u32>, Option<Distance>);

impl Probe<'_> {
    /// Chooses the points of a round, not the running total: the smallest candidate in the second round. Returns points
    /// and distance of the second round.
    pub(super) async fn skip_running_total(
        &mut self,
        _: &GuessSubmitted,
        first: &ResultDisplay,
        seen: (u32, Option<Distance>),
    ) -> Result<(u32, Option<Distance>)> {
        let mut least = seen.0;
        for (frame, number, points) in &first.points[1..] {
            let locators: Locators = observe::css_locators(&number.selectors, frame).into_iter().collect();
            let now = self.page.read(&locators).await?.and_then(|text| read_points(&text));
            if *points == first.points[0].2 && now.is_some_and(|now| now < least) {
                self.learn_result_locators("points", frame, &number.selectors);
                self.apply_draft()?;
                least = now.unwrap_or(least);
            }
        }
        Ok((least, seen.1))
    }

    /// Finds the total score at the end by its value, else by a word for points, else any button that is visible only at
    /// the end.
    pub(super) async fn learn_total(&mut self, shown: &[Shown], known: &HashSet<String>) -> Result<()> {
        let sum: Option<u32> = shown.iter().map(|(points, _)| *points).sum();
        let best = shown.iter().filter_map(|(points, _)| *points).max();
        let end = self.visible_state().await?;
        // Selectors that matched nothing before the end.
        let new =
            |selectors: &[String]| selectors.iter().filter(|css| !known.contains(*css)).cloned().collect::<Vec<_>>();
        let is_total = |number: &NumberText| {
            sum.is_some() && whole_number(&number.text) == sum && !new(&number.selectors).is_empty()
        };
        // A page may round or count up, so that the points of its rounds do not add up to its total.
        let like_total = |number: &NumberText| {
            let points = points_by_word(&number.text).filter(|points| Some(*points) >= best && best.is_some())?;
            (!new(&number.selectors).is_empty()).then_some((points, Reverse(number.text.len())))
        };
        // Of elements with the same text, the innermost: others may be there during a round too.
        let exact = end.numbers.iter().rev().filter(|(_, number)| is_total(number));
        let exact = exact.min_by_key(|(_, number)| number.text.len());
        let total = exact.or_else(|| {
            let likely = end.numbers.iter().filter_map(|it| Some((like_total(&it.1)?, it)));
            likely.max_by_key(|(rank, _)| *rank).map(|(_, it)| it)
        });
        let locators = if let Some((frame, number)) = total {
            (self.on_step)(&format!("the game ends with `{}`", number.text.replace('\n', " ")));
            observe::css_locators(&new(&number.selectors), frame)
        } else {
            let found = end.buttons.iter().find(|(_, button)| button.role.is_some() && !known.contains(&button.text));
            // Without points, a number at the end is not taken for a total.
            let text = end.numbers.iter().filter(|(_, number)| sum.is_none() && !new(&number.selectors).is_empty());
            if let Some((frame, number)) = text.min_by_key(|(_, number)| number.text.len()).filter(|_| found.is_none())
            {
                (self.on_step)(&format!("the game ends with `{}`", number.text.replace('\n', " ")));
                self.draft.set_locators("result", "total", &observe::css_locators(&new(&number.selectors), frame));
                return self.apply_draft();
            }
            let marker = found.map_or_else(|| "nothing".to_owned(), |(_, button)| format!("`{}`", button.text));
            (self.on_step)(&format!("the total score was not found; the end of the game is detected by {marker}"));
            found.map_or_else(Vec::new, |(frame, button)| {
                let locators = button_locators(button, frame).into_iter();
                locators.filter(|locator| locator.css.as_ref().is_none_or(|css| !known.contains(css))).collect()
            })
        };
        self.draft.set_locators("result", "total", &locators);
        self.apply_draft()
    }

    /// Removes locators of the total that find something during a round: the game would end there.
    pub(super) async fn check_total(&mut self) -> Result<()> {
        let total = self.draft.locators("result", "total");
        let remaining = self.without_matches(total.clone()).await?;
        if remaining.len() < total.len() {
            self.draft.set_locators("result", "total", &remaining);
            self.apply_draft()?;
        }
        Ok(())
    }

    /// Fits the score formula to the rounds, unless it is stated.
    pub(super) fn learn_score_formula(&mut self, shown: &[Shown]) -> Result<Vec<ObservedRound>> {
        let both: Vec<(u32, Distance)> =
            shown.iter().filter_map(|(points, distance)| Some(((*points)?, (*distance)?))).collect();
        match score_formula::fit_law(&both) {
            _ if both.is_empty() || self.draft.given().has_section("score") => {}
            Some(law) => {
                (self.on_step)(&format!("points: {}", law.formula));
                for (key, value) in law.score {
                    self.draft.set("score", &key, Some(value));
                }
            }
            // The game can be played without it.
            None => (self.on_step)(&format!(
                "the points of {} rounds fit no known formula; write it as score.law",
                both.len()
            )),
        }
        self.apply_draft()?;
        let seen = |(points, distance): &Shown| ObservedRound {
            points: *points,
            distance_m: distance.map(|distance| distance.metres),
        };
        Ok(shown.iter().map(seen).collect())
    }
}
