// Playing: five places, the person's pin against the model's.

import { el } from "../dom";
import { formatCount, formatDistance } from "../geometry";
import type { Prediction, LatLng } from "../engine/types";
import { bar, creditLine, point } from "./prediction-view";
import type { Mark } from "./map-renderer";
import { deal, ROUNDS_A_GAME, totals, verdict, type Played, type Score } from "./game-rules";
import type { Model } from "./model";
import { gallery, picker, release, viewOf, type View } from "./photos";
import { fetchViews, ROUNDS, type Credit } from "./samples";
import { share } from "./share";
import { announce, button, hideNotice, notify, showError, type Stage } from "./layout";
import { placeIn } from "./location";

const MOST_POINTS = 5000;

/** A place to be guessed. */
interface Riddle {
  name: string;
  truth: LatLng;
  pictures: () => Promise<Blob[]>;
  credit: Credit | null;
}

export class Play {
  private riddles: Riddle[] = [];
  private played: Played[] = [];
  private views: View[] = [];
  private turn = 0;

  constructor(
    private readonly stage: Stage,
    private readonly model: Model,
    private readonly status: HTMLElement,
  ) {}

  enter(): void {
    this.leave();
    this.stage.begin(
      "play",
      "You against Landfall",
      "Five pictures. Both of you put a pin on the map; the closer, the more points, up to 5,000 a round.",
      button("Five places", null, () => this.begin(this.places()), true),
      picker("Your photos", (files) => void this.beginWith(files)),
    );
    this.stage.showPanel(
      el("h2", { class: "panel-title" }, "How it goes"),
      el("p", {}, "Look at the picture, tap the map, press Guess. Landfall sees the same pictures and nothing else."),
      el("p", {}, "Your own photos need a place in them, as phones write it. It is read on this device, to tell the distance after both have guessed."),
      this.status,
    );
  }

  leave(): void {
    this.turn++;
    this.stage.map.placing(null);
    this.stage.busy = false;
    this.clearPictures();
    hideNotice();
  }

  /** Photos that were dropped are played. */
  take(files: File[]): void {
    void this.beginWith(files);
  }

  private places(): Riddle[] {
    return deal(ROUNDS, ROUNDS_A_GAME).map((round) => ({
      name: round.name,
      truth: round.truth,
      pictures: () => fetchViews(round),
      credit: round.credit,
    }));
  }

  private async beginWith(files: File[]): Promise<void> {
    const turn = ++this.turn;
    const all = await Promise.all(files.map(async (file) => ({ file, truth: await placeIn(file) })));
    if (turn !== this.turn) return;
    const riddles = deal(all, all.length).flatMap(({ file, truth }): Riddle[] =>
      truth ? [{ name: file.name, truth, pictures: () => Promise.resolve([file]), credit: null }] : [],
    );
    if (!riddles.length) {
      showError(new Error("These photos carry no place: choose some that were taken with location switched on."));
      return;
    }
    this.begin(riddles.slice(0, ROUNDS_A_GAME));
    const without = all.length - riddles.length;
    if (without) notify("status", `${without === 1 ? "One photo carries" : `${without} photos carry`} no place and cannot be played.`);
  }

  private begin(riddles: Riddle[]): void {
    hideNotice();
    this.riddles = riddles;
    this.played = [];
    void this.show();
  }

  private clearPictures(): void {
    release(this.views);
    this.views = [];
  }

  /** Shows the next place and waits for a pin. */
  private async show(): Promise<void> {
    const turn = ++this.turn;
    const { stage } = this;
    const riddle = this.riddles[this.played.length];
    if (!riddle) return this.finish();
    const title = this.title();
    stage.showPanel(el("p", { class: "waiting" }, "Fetching the picture…"));
    let pictures: Blob[];
    try {
      pictures = await riddle.pictures();
    } catch (error) {
      if (turn !== this.turn) return;
      this.enter();
      showError(error);
      return;
    }
    if (turn !== this.turn) return;
    this.clearPictures();
    this.views = pictures.map(viewOf);
    stage.showView("picture", gallery(this.views, "The place to guess"));
    stage.map.showHeat(null);
    stage.map.showMarks([]);
    stage.map.world();
    // The model looks while the person does; it tells when both have guessed.
    const thought = this.model.locate(pictures);
    thought.catch(() => undefined);
    let pin: LatLng | null = null;
    const guess = button("Guess", null, () => pin && void this.guess(turn, riddle, pin, thought), true);
    guess.disabled = true;
    const hint = el("p", { class: "waiting", role: "status" }, "Where was this taken? Tap the map to place your pin.");
    stage.map.placing((place) => {
      pin = place;
      guess.disabled = false;
      hint.textContent = "Move the pin as often as you like, then guess.";
      stage.map.showMarks([{ ...place, kind: "player" }]);
    });
    stage.map.describe("World map to guess on");
    stage.showPanel(title, hint, el("div", { class: "actions actions-stay" }, guess), this.tally());
  }

  private title(): HTMLElement {
    return el("p", { class: "kicker" }, `Round ${this.played.length + 1} of ${this.riddles.length}`);
  }

  private tally(): HTMLElement | null {
    if (!this.played.length) return null;
    const { player, model } = totals(this.played);
    return el("p", { class: "tally" }, `So far: you ${formatCount(player)}, Landfall ${formatCount(model)}`);
  }

  private async guess(turn: number, riddle: Riddle, guess: LatLng, thought: Promise<Prediction>): Promise<void> {
    const { stage } = this;
    stage.map.placing(null);
    stage.busy = true;
    stage.showPanel(this.title(), el("p", { class: "waiting thinking" }, "Landfall is still looking…"));
    try {
      const answer = await thought;
      const [player, model] = await Promise.all([
        this.model.score(guess, riddle.truth),
        this.model.score(point(answer), riddle.truth),
      ]);
      if (turn !== this.turn) return;
      this.played.push({ name: riddle.name, truth: riddle.truth, guess, answer, player, model });
      this.showRound(riddle, this.played[this.played.length - 1]!);
    } catch (error) {
      if (turn !== this.turn) return;
      // A picture that the model cannot read is no round.
      this.riddles = this.riddles.filter((other) => other !== riddle);
      if (this.riddles.length) void this.show();
      else this.enter();
      showError(error);
    } finally {
      if (turn === this.turn) stage.busy = false;
    }
  }

  private showRound(riddle: Riddle, round: Played): void {
    const { stage } = this;
    const { truth, guess, answer, player, model } = round;
    stage.busy = false;
    stage.map.showHeat(answer);
    const marks: Mark[] = [
      { ...truth, kind: "truth" },
      { ...point(answer), kind: "guess", label: "Landfall" },
      { ...guess, kind: "player", label: "You" },
    ];
    stage.map.showMarks(marks, [[guess, truth], [point(answer), truth]]);
    stage.map.describe(`World map: the place, your pin and Landfall's`);
    stage.map.go([truth, guess, point(answer)], 24);
    const last = this.played.length >= this.riddles.length;
    const next = button(last ? "See the result" : "Next round", null, () => void this.show(), true);
    stage.showPanel(
      el(
        "p",
        { class: "kicker" },
        el("span", {}, `Round ${this.played.length} of ${this.riddles.length}`),
        el("strong", {}, verdict(player.points, model.points)),
      ),
      el("h2", { class: "place" }, riddle.name),
      el("div", { class: "duel" }, ...duelRow("You", "mine", player), ...duelRow("Landfall", "its", model)),
      el("div", { class: "actions actions-stay" }, next),
      this.tally(),
      riddle.credit && creditLine(riddle.credit),
    );
    next.focus();
    announce(`${verdict(player.points, model.points)} You ${player.points}, Landfall ${model.points} points.`);
  }

  private finish(): void {
    const { stage, played } = this;
    const { player, model } = totals(played);
    const marks = played.flatMap(({ truth, guess, answer }): Mark[] => [
      { ...truth, kind: "truth" },
      { ...point(answer), kind: "guess" },
      { ...guess, kind: "player" },
    ]);
    this.clearPictures();
    stage.showView("none");
    stage.map.showHeat(null);
    stage.map.showMarks(marks, played.flatMap(({ truth, guess, answer }): [LatLng, LatLng][] => [[guess, truth], [point(answer), truth]]));
    stage.map.go(marks);
    stage.map.describe("World map: all places and pins of the game");
    const won = player > model ? "You won" : player === model ? "A draw" : "Landfall won";
    stage.showPanel(
      el("p", { class: "kicker" }, "The game"),
      el("h2", { class: "place" }, won),
      el("p", { class: "final" }, el("strong", {}, formatCount(player)), " to ", el("strong", {}, formatCount(model)), " points"),
      el(
        "div",
        { class: "actions" },
        button("Share", "share", () => void share({ game: played }).catch(showError), true),
        button("Play again", "again", () => this.enter()),
      ),
      table(played),
    );
    announce(`${won}: ${player} to ${model} points.`);
  }
}

function duelRow(who: string, whose: string, { points, distanceKm }: Score): HTMLElement[] {
  return [
    el("span", { class: "duel-who" }, who),
    el("span", { class: whose }, bar(points / MOST_POINTS)),
    el("span", { class: "duel-points" }, el("strong", {}, formatCount(points)), el("span", {}, formatDistance(distanceKm * 1000))),
  ];
}

function table(played: Played[]): HTMLElement {
  const head = ["Place", "You", "Landfall"].map((name) => el("th", { scope: "col" }, name));
  const rows = played.map(({ name, player, model }) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, formatCount(player.points)), el("td", {}, formatCount(model.points))),
  );
  return el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
}
