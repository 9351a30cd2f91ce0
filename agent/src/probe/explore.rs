//! Exploring the buttons of a page on which no words mark the one that starts a game: modes, lengths, tours. The most likely
//! is pressed first; where no game appears, the page is loaded again and the next one is tried.

use std::time::Instant;

use anyhow::Result;
use regex::Regex;

use crate::browser::input;
use crate::probe::observe;
use crate::probe::observe::{ButtonElement, FramePath};
use crate::probe::{Probe, button_locators};
use crate::site::page::{PRESS_AGAIN, Press};
use crate::site::profile::locator::Locator;

/// Frame and selectors of a view.
pub(super) type ViewElement = (FramePath, Vec<String>);

/// Maximum number of buttons that are tried, and of those pressed one after another before the page is loaded again.
const MAX_TRIED: usize = 14;
const MAX_DEPTH: usize = 5;

/// Words of buttons that lead to a game of one player, most likely first.
const LIKELY: [&str; 4] = [
    r"class(ic|ique)|klassisch|clásic[oa]|classic[oa]|klassiek|solo|single[ -]?player|einzelspieler|un jugador|world|welt|monde|mundo|mondo|wereld|クラシック|世界|经典|클래식",
    r"play|game|start|spiel|partie|jou|jug|gioc|jog|spel|graj|игр|ゲーム|游戏|게임|photo|street|place|panoram|skip|tour",
    r"quick|short|easy|einfach|leicht|facile|fácil|guest|gast|invité|invitado|no limit|untimed|without",
    r"\b[1-9]\b|round|runde|ronda|tour|next|weiter|continue|ok",
];
/// Words of buttons that lead elsewhere.
const UNLIKELY: &str = r"multi|vs\b|versus|duel|party|friend|freund|ami|amig|online|lobby|ranked|daily|live|battle|log ?in|sign|anmeld|registr|connexion|entrar|account|konto|profil|setting|einstell|option|about|über|help|hilfe|aide|ayuda|rules|regeln|share|teilen|leaderboard|ranking|rangliste|privacy|datenschutz|imprint|impressum|terms|cookie|manage|language|sprache|buy|shop|premium|donate|discord|github|twitter|facebook|download|quiz|flag|country|[+\u{2212}-]$|leaflet|openstreetmap|maplibre|mapbox|©";

/// What was tried.
pub(super) struct Exploration {
    /// When something was last pressed.
    pub(super) since: Instant,
    /// Texts of the buttons that were pressed.
    pub(super) tried: Vec<String>,
    /// Those that could not be pressed since the page last changed: something may have covered them.
    out_of_reach: Vec<String>,
    /// The last button, and the view that was on display when it was pressed.
    pub(super) last: Option<(Vec<Locator>, Option<ViewElement>)>,
    depth: usize,
    reloads: usize,
    /// Whether nothing is left to try.
    pub(super) is_over: bool,
}

impl Default for Exploration {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            tried: Vec::new(),
            out_of_reach: Vec::new(),
            last: None,
            depth: 0,
            reloads: 0,
            is_over: false,
        }
    }
}

impl Exploration {
    fn is_open(&self, text: &str) -> bool {
        ![&self.tried, &self.out_of_reach].iter().any(|list| list.iter().any(|pressed| pressed == text))
    }
}

impl Probe<'_> {
    /// Presses the most likely button that was not tried yet; loads the page again where there is none. `view` is what the
    /// page shows now.
    pub(super) async fn explore(&mut self, explored: &mut Exploration, view: Option<&ViewElement>) -> Result<()> {
        let buttons: Vec<(FramePath, ButtonElement)> = observe::in_all_frames(self.page, "return buttons()").await?;
        let mut open: Vec<(i32, FramePath, ButtonElement)> = buttons
            .into_iter()
            .filter(|(_, button)| button.enabled && explored.is_open(&button.text.replace('\n', " ")))
            .filter_map(|(frame, button)| Some((likelihood(&button.text)?, frame, button)))
            .collect();
        open.sort_by_key(|(likelihood, _, button)| (-likelihood, button.role.is_none()));
        let is_deep = explored.depth >= MAX_DEPTH;
        let next = open.into_iter().next().filter(|_| !is_deep && explored.tried.len() < MAX_TRIED);
        let Some((_, frame, button)) = next else {
            explored.is_over = explored.reloads > 1 || explored.depth == 0 || explored.tried.len() >= MAX_TRIED;
            if !explored.is_over {
                (explored.reloads, explored.depth) = (explored.reloads + 1, 0);
                explored.out_of_reach.clear();
                explored.last = None;
                (self.on_step)("no game appears; loading the page again");
                self.draft.set_locators("page", "start", &[]);
                let address = self.address.clone();
                self.page.go(&address).await?;
            }
            return Ok(());
        };
        let text = button.text.replace('\n', " ");
        let locators = button_locators(&button, &frame);
        let these = locators.iter().cloned().collect();
        let pressed = self.page.press_when_ready(&these, PRESS_AGAIN).await?;
        if pressed == Press::Covered && self.page.clear_away(&these).await? {
            (self.on_step)(&format!("closed what covered the button `{text}`"));
            return Ok(()); // the next call tries it
        }
        if pressed != Press::Done {
            explored.out_of_reach.push(text);
            return Ok(());
        }
        (self.on_step)(&format!("trying the button `{text}`"));
        explored.tried.push(text);
        explored.out_of_reach.clear();
        explored.depth += 1;
        explored.last = Some((locators.clone(), view.cloned()));
        self.add_start(locators);
        input::pause(300).await;
        Ok(())
    }

    /// If the last button that was tried brought the map beside a view that was there before, it does not start a game but
    /// opens the map, and is needed in every round.
    pub(super) fn learn_map_opener(&mut self, explored: &Exploration, view: &ViewElement) {
        let Some((opener, Some(before))) = &explored.last else { return };
        if before != view {
            return;
        }
        (self.on_step)("that button opens the map");
        let start = self.draft.locators("page", "start");
        let start: Vec<Locator> = start.into_iter().filter(|locator| !opener.contains(locator)).collect();
        self.draft.set_locators("page", "start", &start);
        self.draft.set_locators("map", "open", opener);
    }
}

/// How likely a button leads to a game; `None` if it is certainly another one.
fn likelihood(text: &str) -> Option<i32> {
    let is_match = |words: &str| Regex::new(&format!("(?i){words}")).is_ok_and(|words| words.is_match(text));
    if is_match(UNLIKELY) {
        return None;
    }
    let rank = LIKELY.iter().position(|words| is_match(words)).unwrap_or(LIKELY.len());
    i32::try_from(LIKELY.len() - rank).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn games_of_one_player_come_first() {
        let order = ["Classic\nGuess the exact place", "Quick Game / 3 Rounds", "Skip the tour →", "Blue"];
        let ranks: Vec<Option<i32>> = order.iter().map(|text| likelihood(text)).collect();
        assert!(ranks.iter().all(Option::is_some) && ranks.windows(2).all(|pair| pair[0] >= pair[1]), "{ranks:?}");
        for text in ["Multiplayer", "Log in", "Country quiz\nName the country", "Settings", "Manage options"] {
            assert_eq!(likelihood(text), None, "{text}");
        }
    }
}
