//! What several rounds tell together: which number is the sum, how the game ends, and the law that points follow.

use std::collections::HashSet;

use anyhow::Result;

use crate::probe::observe;
use crate::probe::observe::NumberText;
use crate::probe::rounds::ResultDisplay;
use crate::probe::{ObservedRound, Probe, score_formula, ways_to};
use crate::record::Distance;
use crate::site::page::{GuessSubmitted, whole_number};
use crate::site::profile::locator::Locators;

impl Probe<'_> {
    /// Of several numbers of points the one that is not the sum of all rounds: the smallest in the second round. The second
    /// round's points and distance.
    pub(super) async fn no_total(
        &mut self,
        _: &GuessSubmitted,
        first: &ResultDisplay,
        seen: (u32, Option<Distance>),
    ) -> Result<(u32, Option<Distance>)> {
        let mut least = seen.0;
        for (frame, number, points) in &first.points[1..] {
            let ways: Locators = observe::ways(&number.ways, frame).into_iter().collect();
            let now = self.page.read(&ways).await?.and_then(|text| whole_number(&text));
            if *points == first.points[0].2 && now.is_some_and(|now| now < least) {
                self.learn("points", frame, &number.ways);
                self.adopt()?;
                least = now.unwrap_or(least);
            }
        }
        Ok((least, seen.1))
    }

    /// The game's points, by their number, where nothing stood before; else whatever shows at the end alone.
    pub(super) async fn total(&mut self, sum: u32, known: &HashSet<String>) -> Result<()> {
        let end = self.shown().await?;
        // What has stood at no other time.
        let new = |ways: &[String]| ways.iter().filter(|css| !known.contains(*css)).cloned().collect::<Vec<_>>();
        let is_total = |number: &NumberText| whole_number(&number.text) == Some(sum) && !new(&number.ways).is_empty();
        let numbers = end.numbers.iter().filter(|(_, number)| is_total(number));
        let ways = if let Some((frame, number)) = numbers.min_by_key(|(_, number)| number.text.len()) {
            (self.report_step)(&format!("the game ends with `{}`", number.text.replace('\n', " ")));
            observe::ways(&new(&number.ways), frame)
        } else {
            let found = end.buttons.iter().find(|(_, button)| button.role.is_some() && !known.contains(&button.text));
            let said = found.map_or_else(|| "nothing".to_owned(), |(_, button)| format!("`{}`", button.text));
            (self.report_step)(&format!("the game's points are not found at its end; what tells the end is {said}"));
            found.map_or_else(Vec::new, |(frame, button)| {
                let ways = ways_to(button, frame).into_iter();
                ways.filter(|way| way.css.as_ref().is_none_or(|css| !known.contains(css))).collect()
            })
        };
        self.draft.ways("result", "total", &ways);
        self.adopt()
    }

    /// The law that the rounds follow.
    pub(super) fn count(&mut self, shown: &[(u32, Option<Distance>)]) -> Result<Vec<ObservedRound>> {
        let both: Vec<(u32, Distance)> =
            shown.iter().filter_map(|(points, distance)| Some((*points, (*distance)?))).collect();
        match score_formula::fit(&both) {
            Some(law) => {
                (self.report_step)(&format!("points: {} · exp(-km / {})", law.max_points, law.falloff_km));
                self.draft.set("score", "max_points", Some(law.max_points));
                self.draft.set("score", "falloff_km", Some(law.falloff_km));
            }
            None if both.is_empty() => {}
            None => self.missing.push(format!(
                "score: the points of {} rounds do not tell the law; give max_points and falloff_km where you know them",
                both.len()
            )),
        }
        self.adopt()?;
        let seen = |(points, distance): &(u32, Option<Distance>)| ObservedRound {
            points: Some(*points),
            distance_m: distance.map(|distance| distance.metres),
        };
        Ok(shown.iter().map(seen).collect())
    }
}
