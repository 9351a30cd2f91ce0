//! What several rounds tell together: which number is the sum, how the game ends, and the law that points follow.

use std::collections::HashSet;

use anyhow::Result;

use crate::probe::eyes;
use crate::probe::eyes::Number;
use crate::probe::rounds::Outcome;
use crate::probe::{Probe, Seen, law, ways_to};
use crate::record::Distance;
use crate::site::page::{Guessed, whole_number};
use crate::site::profile::locator::Ways;

impl Probe<'_> {
    /// Of several numbers of points the one that is not the sum of all rounds: the smallest in the second round. The second
    /// round's points and distance.
    pub(super) async fn no_total(
        &mut self,
        _: &Guessed,
        first: &Outcome,
        seen: (u32, Option<Distance>),
    ) -> Result<(u32, Option<Distance>)> {
        let mut least = seen.0;
        for (frame, number, points) in &first.points[1..] {
            let ways: Ways = eyes::ways(&number.ways, frame).into_iter().collect();
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
        let is_total = |number: &Number| whole_number(&number.text) == Some(sum) && !new(&number.ways).is_empty();
        let numbers = end.numbers.iter().filter(|(_, number)| is_total(number));
        let ways = if let Some((frame, number)) = numbers.min_by_key(|(_, number)| number.text.len()) {
            (self.told)(&format!("the game ends with `{}`", number.text.replace('\n', " ")));
            eyes::ways(&new(&number.ways), frame)
        } else {
            let found = end.buttons.iter().find(|(_, button)| button.role.is_some() && !known.contains(&button.text));
            let said = found.map_or_else(|| "nothing".to_owned(), |(_, button)| format!("`{}`", button.text));
            (self.told)(&format!("the game's points are not found at its end; what tells the end is {said}"));
            found.map_or_else(Vec::new, |(frame, button)| {
                let ways = ways_to(button, frame).into_iter();
                ways.filter(|way| way.css.as_ref().is_none_or(|css| !known.contains(css))).collect()
            })
        };
        self.draft.ways("result", "total", &ways);
        self.adopt()
    }

    /// The law that the rounds follow.
    pub(super) fn count(&mut self, told: &[(u32, Option<Distance>)]) -> Result<Vec<Seen>> {
        let both: Vec<(u32, Distance)> =
            told.iter().filter_map(|(points, distance)| Some((*points, (*distance)?))).collect();
        match law::fit(&both) {
            Some(law) => {
                (self.told)(&format!("points: {} · exp(-km / {})", law.max_points, law.falloff_km));
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
        let seen = |(points, distance): &(u32, Option<Distance>)| Seen {
            points: Some(*points),
            distance_m: distance.map(|distance| distance.metres),
        };
        Ok(told.iter().map(seen).collect())
    }
}
