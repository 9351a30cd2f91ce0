// The page of a game, from the first round to the summary.

import { readGame, sendGuess, type Game, type GameMap, type Round } from "./api";
import { hideError, showError, showInterstitial, showLevelUp } from "./dialogs";
import { el } from "./dom";
import { formatClock, formatCount, type LatLng } from "../geometry";
import { GuessMap } from "./maps";
import { finalResult, roundResult, type ResultView } from "./results";
import { OPPONENT_NAME, totals } from "./opponent";
import { startGame } from "./start-page";
import { PanoramaView } from "./panorama-view";

/** Plays the game with this token on the page. */
export class GamePage {
  private readonly view = new PanoramaView();
  private readonly guessMap = new GuessMap((pin) => void this.guess(pin, false));
  private readonly roundNumber = el("span", { class: "status_value__w2Lp4", "data-qa": "round-value" });
  private readonly playerScore = el("span", { class: "status_value__w2Lp4", "data-qa": "score-value" });
  private readonly opponentScore = el("span", { class: "status_value__w2Lp4", "data-qa": "rival-value" });
  private readonly timer = el("div", { class: "status-item status-timer", "data-qa": "timer", hidden: true });
  private readonly frame: HTMLElement;
  private game: Game | null = null;
  private result: ResultView | null = null;
  private clockTimer = 0;
  private phase: "loading" | "guessing" | "sending" | "result" = "loading";

  constructor(
    private readonly root: HTMLElement,
    private readonly token: string,
    private readonly map: GameMap,
  ) {
    const item = (label: string, qa: string, value: HTMLElement) =>
      el(
        "div",
        { class: "status_section__d8Kx2 status-item", "data-qa": qa },
        el("span", { class: "status-label" }, label),
        " ",
        value,
      );
    const name = el("span", { class: "status_value__w2Lp4" }, map.name);
    this.frame = el(
      "main",
      { class: "in-game_root__rT4m9 game" },
      this.view.element,
      el(
        "div",
        { class: "game_status__q1AvT status" },
        this.timer,
        item("Map", "map-name", name),
        item("Round", "round-number", this.roundNumber),
        item(map.arena.versus ? "You" : "Score", "score", this.playerScore),
        map.arena.versus && item(OPPONENT_NAME, "rival", this.opponentScore),
      ),
      this.view.compass,
      this.guessMap.element,
    );
    // On a phone, a tap on the view collapses the map.
    this.view.element.addEventListener("pointerdown", () => this.guessMap.setExpanded(false));
    document.addEventListener("keydown", (event) => this.keyDown(event));
  }

  async start(): Promise<void> {
    const game = await readGame(this.token);
    this.root.replaceChildren(this.frame);
    if (this.map.arena.interstitial && game.round === 1 && game.player.guesses.length === 0) {
      await showInterstitial(game.roundCount);
    }
    await this.showRound(game);
  }

  private async showRound(game: Game): Promise<void> {
    this.game = game;
    this.result?.remove();
    this.result = null;
    this.updateStatus();
    this.frame.inert = false;
    if (game.state === "finished") {
      this.finish();
      return;
    }
    this.phase = "loading";
    this.guessMap.reset();
    const round = game.rounds[game.round - 1];
    if (!round) throw new Error(`The arena's response does not contain round ${game.round}.`);
    try {
      await this.view.show(round, game);
    } catch (error) {
      // The player can still guess and continue.
      showError(error);
    }
    this.phase = "guessing";
    this.startClock(round);
  }

  private async guess(pin: LatLng | null, timedOut: boolean): Promise<void> {
    if (this.phase !== "guessing") return;
    this.phase = "sending";
    this.guessMap.busy = true;
    hideError();
    try {
      this.game = await sendGuess(this.token, pin, timedOut);
      window.clearInterval(this.clockTimer);
      this.timer.hidden = true;
      this.updateStatus();
      this.phase = "result";
      this.guessMap.setExpanded(false);
      this.frame.inert = true;
      this.result = roundResult(this.root, this.game, () => void this.next());
      // Once per game, after the second round if there is one: live pages do not show it after every round.
      const levelUpRound = Math.min(2, this.game.roundCount);
      if (this.map.arena.levelUp && this.game.player.guesses.length === levelUpRound) void showLevelUp();
    } catch (error) {
      this.phase = "guessing";
      this.guessMap.busy = false;
      showError(error);
    }
  }

  /** Continues with the next round or the summary. */
  private async next(): Promise<void> {
    if (this.phase !== "result") return;
    this.phase = "loading";
    hideError();
    // Remove the old view at once, so that it is not mistaken for the new one.
    this.view.showLoading();
    try {
      await this.showRound(await readGame(this.token));
    } catch (error) {
      this.phase = "result";
      showError(error);
    }
  }

  private finish(): void {
    const game = this.game;
    if (!game) return;
    this.phase = "loading";
    this.view.clear();
    this.frame.inert = true;
    this.result = finalResult(this.root, game, () => {
      startGame(game.map, game).catch(showError);
    });
  }

  private updateStatus(): void {
    if (!this.game) return;
    this.roundNumber.textContent = `${this.game.round} / ${this.game.roundCount}`;
    const { person, machine } = totals(this.game);
    this.playerScore.textContent = formatCount(person);
    this.opponentScore.textContent = formatCount(machine);
  }

  private startClock(round: Round): void {
    window.clearInterval(this.clockTimer);
    const limit = this.game?.timeLimit ?? 0;
    this.timer.hidden = limit === 0;
    if (limit === 0) return;
    const ends = Date.parse(round.startTime) + limit * 1000;
    const tick = () => {
      const remaining = (ends - Date.now()) / 1000;
      this.timer.textContent = formatClock(remaining);
      this.timer.toggleAttribute("data-low", remaining < 10);
      if (remaining <= 0) {
        window.clearInterval(this.clockTimer);
        void this.guess(this.guessMap.pin, true);
      }
    };
    this.clockTimer = window.setInterval(tick, 200);
    tick();
  }

  /** The space key guesses and continues, unless a focused control handles it. */
  private keyDown(event: KeyboardEvent): void {
    const focused = event.target instanceof Element && event.target.closest("a, button:enabled, input, [role=dialog]");
    if (event.key !== " " || event.repeat || focused) return;
    event.preventDefault();
    if (this.phase === "guessing") this.guessMap.guess();
    else if (this.phase === "result") void this.next();
  }
}
