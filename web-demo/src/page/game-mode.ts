// Play mode: five rounds, the player's pin against the model's.

import { el } from "../dom";
import { formatCount, formatDistance } from "../geometry";
import type { Prediction, LatLng } from "../engine/types";
import { bar, creditLine, toLatLng } from "./prediction-view";
import type { MapMarker } from "./map-renderer";
import { drawRandom, ROUNDS_PER_GAME, totals, roundWinner, type PlayedRound, type Score } from "./game-rules";
import type { ModelController } from "./model";
import { gallery, photoPicker, revokeViews, createView, type PhotoView } from "./photos";
import { fetchViews, SAMPLES, type Credit } from "./samples";
import { share } from "./share";
import { announce, button, hideNotice, notify, showError, type Layout } from "./layout";
import { readPhotoLocation } from "./location";

const MAX_POINTS = 5000;

/** A round to play. */
interface GameRound {
  name: string;
  truth: LatLng;
  loadImages: () => Promise<Blob[]>;
  credit: Credit | null;
}

export class GameMode {
  private rounds: GameRound[] = [];
  private played: PlayedRound[] = [];
  private views: PhotoView[] = [];
  private generation = 0;

  constructor(
    private readonly layout: Layout,
    private readonly model: ModelController,
    private readonly status: HTMLElement,
  ) {}

  enter(): void {
    this.leave();
    this.layout.showStart(
      "play",
      "You against Landfall",
      "You and Landfall each place a pin on the map. The closer, the more points: up to 5,000 per round.",
      button("Five places", null, () => this.startGame(this.sampleRounds()), true),
      photoPicker("Your photos", (files) => void this.startWithPhotos(files)),
    );
    this.layout.showPanel(
      el("h2", { class: "panel-title" }, "How to play"),
      el("p", {}, "Look at the photo, tap the map and press Guess. Landfall sees the same photos and nothing else."),
      el(
        "p",
        {},
        "Your own photos must contain GPS coordinates, as phone photos do. They stay on this device and are used only to compute the distance after both guesses.",
      ),
      this.status,
    );
  }

  leave(): void {
    this.generation++;
    this.layout.map.setPlacing(null);
    this.layout.busy = false;
    this.clearViews();
    hideNotice();
  }

  /** Starts a game with dropped photos. */
  openFiles(files: File[]): void {
    void this.startWithPhotos(files);
  }

  private sampleRounds(): GameRound[] {
    return drawRandom(SAMPLES, ROUNDS_PER_GAME).map((sample) => ({
      name: sample.name,
      truth: sample.truth,
      loadImages: () => fetchViews(sample),
      credit: sample.credit,
    }));
  }

  private async startWithPhotos(files: File[]): Promise<void> {
    const generation = ++this.generation;
    const all: { file: File; truth: LatLng | null }[] = [];
    // One at a time: phones have no memory for all files at once.
    for (const file of files) all.push({ file, truth: await readPhotoLocation(this.model, file) });
    if (generation !== this.generation) return;
    const rounds = drawRandom(all, all.length).flatMap(({ file, truth }): GameRound[] =>
      truth ? [{ name: file.name, truth, loadImages: () => Promise.resolve([file]), credit: null }] : [],
    );
    if (!rounds.length) {
      showError(
        new Error("These photos have no GPS coordinates: choose photos that were taken with location enabled."),
      );
      return;
    }
    this.startGame(rounds.slice(0, ROUNDS_PER_GAME));
    const skipped = all.length - rounds.length;
    if (skipped)
      notify(
        "status",
        `${skipped === 1 ? "One photo has" : `${skipped} photos have`} no GPS coordinates and cannot be played.`,
      );
  }

  private startGame(rounds: GameRound[]): void {
    hideNotice();
    this.rounds = rounds;
    this.played = [];
    void this.nextRound();
  }

  private clearViews(): void {
    revokeViews(this.views);
    this.views = [];
  }

  /** Shows the next round and waits for a pin. */
  private async nextRound(): Promise<void> {
    const generation = ++this.generation;
    const { layout } = this;
    const round = this.rounds[this.played.length];
    if (!round) return this.finish();
    const title = this.title();
    layout.showPanel(el("p", { class: "hint" }, "Loading the photo…"));
    let images: Blob[];
    try {
      images = await round.loadImages();
    } catch (error) {
      if (generation !== this.generation) return;
      this.enter();
      showError(error);
      return;
    }
    if (generation !== this.generation) return;
    this.clearViews();
    this.views = images.map(createView);
    layout.showMedia("photo", gallery(this.views, "Photo of the place to guess"));
    layout.map.showHeatmap(null);
    layout.map.showMarkers([]);
    layout.map.showWorld();
    // The model runs while the player thinks; its prediction is shown after the player's guess.
    const pending = this.model.locate(images, { prior: "game" });
    pending.catch(() => undefined);
    let pin: LatLng | null = null;
    const guess = button("Guess", null, () => pin && void this.guess(generation, round, pin, pending), true);
    guess.disabled = true;
    const hint = el("p", { class: "hint", role: "status" }, "Where was this taken? Tap the map to place your pin.");
    layout.map.setPlacing((place) => {
      pin = place;
      guess.disabled = false;
      hint.textContent = "Move the pin if you like, then guess.";
      layout.map.showMarkers([{ ...place, kind: "player" }]);
    });
    layout.map.describe("World map for your guess");
    layout.showPanel(title, hint, el("div", { class: "actions actions-sticky" }, guess), this.runningTotal());
  }

  private title(): HTMLElement {
    return el("p", { class: "headline" }, `Round ${this.played.length + 1} of ${this.rounds.length}`);
  }

  private runningTotal(): HTMLElement | null {
    if (!this.played.length) return null;
    const { player, model } = totals(this.played);
    return el("p", { class: "running-total" }, `Total: you ${formatCount(player)}, Landfall ${formatCount(model)}`);
  }

  private async guess(
    generation: number,
    round: GameRound,
    guess: LatLng,
    pending: Promise<Prediction>,
  ): Promise<void> {
    const { layout } = this;
    layout.map.setPlacing(null);
    layout.busy = true;
    layout.showPanel(this.title(), el("p", { class: "hint pending" }, "Landfall is still thinking…"));
    try {
      const prediction = await pending;
      const [player, model] = await Promise.all([
        this.model.score(guess, round.truth),
        this.model.score(toLatLng(prediction), round.truth),
      ]);
      if (generation !== this.generation) return;
      this.played.push({ name: round.name, truth: round.truth, guess, prediction, player, model });
      this.showResult(round, this.played[this.played.length - 1]!);
    } catch (error) {
      if (generation !== this.generation) return;
      // Drop rounds whose images the model cannot read.
      this.rounds = this.rounds.filter((other) => other !== round);
      if (this.rounds.length) void this.nextRound();
      else this.enter();
      showError(error);
    } finally {
      if (generation === this.generation) layout.busy = false;
    }
  }

  private showResult(round: GameRound, result: PlayedRound): void {
    const { layout } = this;
    const { truth, guess, prediction, player, model } = result;
    layout.busy = false;
    layout.map.showHeatmap(prediction);
    const markers: MapMarker[] = [
      { ...truth, kind: "truth" },
      { ...toLatLng(prediction), kind: "prediction", label: "Landfall" },
      { ...guess, kind: "player", label: "You" },
    ];
    layout.map.showMarkers(markers, [
      [guess, truth],
      [toLatLng(prediction), truth],
    ]);
    layout.map.describe("World map: the correct location, your pin and Landfall's pin");
    layout.map.fitTo([truth, guess, toLatLng(prediction)], 24);
    const last = this.played.length >= this.rounds.length;
    const next = button(last ? "See results" : "Next round", null, () => void this.nextRound(), true);
    layout.showPanel(
      el(
        "p",
        { class: "headline" },
        el("span", {}, `Round ${this.played.length} of ${this.rounds.length}`),
        el("strong", {}, roundWinner(player.points, model.points)),
      ),
      el("h2", { class: "place-name" }, round.name),
      el(
        "div",
        { class: "round-scores" },
        ...scoreRow("You", "player-bar", player),
        ...scoreRow("Landfall", "model-bar", model),
      ),
      el("div", { class: "actions actions-sticky" }, next),
      this.runningTotal(),
      round.credit && creditLine(round.credit),
    );
    next.focus();
    announce(`${roundWinner(player.points, model.points)} You ${player.points}, Landfall ${model.points} points.`);
  }

  private finish(): void {
    const { layout, played } = this;
    const { player, model } = totals(played);
    const markers = played.flatMap(({ truth, guess, prediction }): MapMarker[] => [
      { ...truth, kind: "truth" },
      { ...toLatLng(prediction), kind: "prediction" },
      { ...guess, kind: "player" },
    ]);
    this.clearViews();
    layout.showMedia("none");
    layout.map.showHeatmap(null);
    const lines = played.flatMap(({ truth, guess, prediction }): [LatLng, LatLng][] => [
      [guess, truth],
      [toLatLng(prediction), truth],
    ]);
    layout.map.showMarkers(markers, lines);
    layout.map.fitTo(markers);
    layout.map.describe("World map: all locations and pins of the game");
    const won = player > model ? "You won" : player === model ? "A draw" : "Landfall won";
    layout.showPanel(
      el("p", { class: "headline" }, "Final score"),
      el("h2", { class: "place-name" }, won),
      el(
        "p",
        { class: "final-score" },
        el("strong", {}, formatCount(player)),
        " to ",
        el("strong", {}, formatCount(model)),
        " points",
      ),
      el(
        "div",
        { class: "actions" },
        button("Share", "share", () => void share({ game: played }).catch(showError), true),
        button("Play again", "again", () => this.enter()),
      ),
      scoreTable(played),
    );
    announce(`${won}: ${player} to ${model} points.`);
  }
}

function scoreRow(name: string, barClass: string, { points, distanceKm }: Score): HTMLElement[] {
  return [
    el("span", { class: "round-scores-name" }, name),
    el("span", { class: barClass }, bar(points / MAX_POINTS)),
    el(
      "span",
      { class: "round-scores-points" },
      el("strong", {}, formatCount(points)),
      el("span", {}, formatDistance(distanceKm * 1000)),
    ),
  ];
}

function scoreTable(played: PlayedRound[]): HTMLElement {
  const head = ["Place", "You", "Landfall"].map((name) => el("th", { scope: "col" }, name));
  const rows = played.map(({ name, player, model }) =>
    el(
      "tr",
      {},
      el("th", { scope: "row" }, name),
      el("td", {}, formatCount(player.points)),
      el("td", {}, formatCount(model.points)),
    ),
  );
  return el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
}
