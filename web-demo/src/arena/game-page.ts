// A game from the first round to the last.

import { readGame, sendGuess, type Game, type GameMap, type Round } from "./api";
import { hideError, showError, showInterstitial, showLevelUp } from "./dialogs";
import { el } from "./dom";
import { formatClock, formatCount, type LatLng } from "../geometry";
import { GuessMap } from "./maps";
import { finalResult, roundResult, type Result } from "./results";
import { RIVAL, totals } from "./opponent";
import { startGame } from "./start-page";
import { View } from "./panorama-view";

/** Plays the game with this token on the page. */
export class Play {
  private readonly view = new View();
  private readonly guessMap = new GuessMap((pin) => void this.guess(pin, false));
  private readonly roundNumber = el("span", { class: "status_value__w2Lp4", "data-qa": "round-value" });
  private readonly score = el("span", { class: "status_value__w2Lp4", "data-qa": "score-value" });
  private readonly rival = el("span", { class: "status_value__w2Lp4", "data-qa": "rival-value" });
  private readonly timer = el("div", { class: "status-item status-timer", "data-qa": "timer", hidden: true });
  private readonly frame: HTMLElement;
  private game: Game | null = null;
  private result: Result | null = null;
  private ticking = 0;
  private phase: "loading" | "guessing" | "sending" | "result" = "loading";

  constructor(
    private readonly root: HTMLElement,
    private readonly token: string,
    private readonly map: GameMap,
  ) {
    const item = (label: string, qa: string, value: HTMLElement) =>
      el("div", { class: "status_section__d8Kx2 status-item", "data-qa": qa }, el("span", { class: "status-label" }, label), " ", value);
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
        item(map.arena.versus ? "You" : "Score", "score", this.score),
        map.arena.versus && item(RIVAL, "rival", this.rival),
      ),
      this.view.compass,
      this.guessMap.element,
    );
    // On a phone a tap on the picture makes the map small again.
    this.view.element.addEventListener("pointerdown", () => this.guessMap.grow(false));
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
    this.status();
    this.frame.inert = false;
    if (game.state === "finished") {
      this.finish();
      return;
    }
    this.phase = "loading";
    this.guessMap.reset();
    const round = game.rounds[game.round - 1];
    if (!round) throw new Error(`The arena sent no round ${game.round}.`);
    try {
      await this.view.show(round, game);
    } catch (error) {
      // The round can still be guessed, and the game go on.
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
      window.clearInterval(this.ticking);
      this.timer.hidden = true;
      this.status();
      this.phase = "result";
      this.guessMap.grow(false);
      this.frame.inert = true;
      this.result = roundResult(this.root, this.game, () => void this.next());
      // Once in a game, as on live pages: neither after each round nor after the first alone.
      const levelAt = Math.min(2, this.game.roundCount);
      if (this.map.arena.levelUp && this.game.player.guesses.length === levelAt) void showLevelUp();
    } catch (error) {
      this.phase = "guessing";
      this.guessMap.busy = false;
      showError(error);
    }
  }

  /** From a round's result to the next round, or to the summary. */
  private async next(): Promise<void> {
    if (this.phase !== "result") return;
    this.phase = "loading";
    hideError();
    // At once: nobody may take the old picture for the new one.
    this.view.expect();
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

  private status(): void {
    if (!this.game) return;
    this.roundNumber.textContent = `${this.game.round} / ${this.game.roundCount}`;
    const { person, machine } = totals(this.game);
    this.score.textContent = formatCount(person);
    this.rival.textContent = formatCount(machine);
  }

  private startClock(round: Round): void {
    window.clearInterval(this.ticking);
    const limit = this.game?.timeLimit ?? 0;
    this.timer.hidden = limit === 0;
    if (limit === 0) return;
    const ends = Date.parse(round.startTime) + limit * 1000;
    const tick = () => {
      const left = (ends - Date.now()) / 1000;
      this.timer.textContent = formatClock(left);
      this.timer.toggleAttribute("data-short", left < 10);
      if (left <= 0) {
        window.clearInterval(this.ticking);
        void this.guess(this.guessMap.pin, true);
      }
    };
    this.ticking = window.setInterval(tick, 200);
    tick();
  }

  /** Space guesses and goes on, unless it presses what has the focus. */
  private keyDown(event: KeyboardEvent): void {
    const focused = event.target instanceof Element && event.target.closest("a, button:enabled, input, [role=dialog]");
    if (event.key !== " " || event.repeat || focused) return;
    event.preventDefault();
    if (this.phase === "guessing") this.guessMap.guess();
    else if (this.phase === "result") void this.next();
  }
}
