// What comes after a guess: how far off it was, and the score of the game.

import type * as L from "leaflet";
import type { Game, Guess } from "./api";
import { showError } from "./dialogs";
import { el } from "./dom";
import { formatCount, formatDistance, formatLatLng, type LatLng } from "../geometry";
import { showResults, type Answer } from "./maps";
import { RIVAL, rivalsGuess, rivalsOutcome, rivalsPin, totals, winner } from "./opponent";
import { isPlain } from "./structure";

const MAX_POINTS = 5000;

/** An overlay on the page with a map in it. */
export class Result {
  readonly element: HTMLElement;
  private readonly map: L.Map;

  constructor(root: HTMLElement, element: HTMLElement, box: HTMLElement, answers: Answer[], suspense = false) {
    this.element = element;
    root.append(element);
    this.map = showResults(box, answers, suspense);
  }

  remove(): void {
    this.map.remove();
    this.element.remove();
  }
}

/** The result of the round that was just guessed. */
export function roundResult(root: HTMLElement, game: Game, onNext: () => void): Result {
  const n = game.player.guesses.length;
  const answer = answerOf(game, n - 1);
  const guess = game.player.guesses[n - 1]!;
  const round = game.rounds[n - 1]!;
  const last = game.state === "finished";
  const box = mapBox();
  const element = el(
    "section",
    {
      class: "result-layout_root__NfX0v round-result_wrapper__v2Ac9 result",
      "data-qa": "round-result",
      "aria-label": `Result of round ${n}`,
    },
    box,
    el(
      "div",
      { class: "result-layout_bottomNew__p5vgC result-panel", "data-qa": "result-view-top" },
      el("p", { class: "result-round" }, `Round ${n} of ${game.roundCount}`),
      ...(isPlain() ? outcome(guess, answer) : liveOutcome(guess)),
      rivalsOutcome(game, n - 1),
      el(
        "button",
        {
          type: "button",
          class: "button_button__aR6_e button_variantPrimary__u3WzI button",
          "data-qa": "close-round-result",
          click: onNext,
        },
        last ? "View summary" : "Next round",
      ),
      el("p", { class: "result-credits" }, [isPlain() && round.name, round.credits].filter(Boolean).join(" · ")),
    ),
  );
  return new Result(root, element, box, [answer], true);
}

/** Points, distance and both places, as the arena tells them. */
function outcome(guess: Guess, { pin, truth }: Answer): HTMLElement[] {
  const points = guess.roundScoreInPoints;
  const metres = guess.distanceInMeters;
  return [
    el(
      "p",
      { class: "round-result_score__y3Kb0 result-points", "data-qa": "round-points", "data-points": String(points) },
      `${formatCount(points)} points`,
    ),
    bar(points / MAX_POINTS),
    el(
      "p",
      { class: "round-result_distanceIndicatorWrapper__f4Lm2 result-distance", "data-qa": "guess-description" },
      ...(pin
        ? [
            "Your pin was ",
            el("strong", { "data-qa": "round-distance", "data-metres": String(metres) }, formatDistance(metres)),
            " from the place.",
          ]
        : ["Time ran out before a pin was placed."]),
    ),
    el(
      "dl",
      { class: "result-places" },
      ...(pin ? [el("dt", {}, "Your pin"), el("dd", {}, placeLink("guess-location", pin))] : []),
      el("dt", {}, "The place"),
      el("dd", {}, placeLink("correct-location", truth)),
    ),
  ];
}

/** The same as the live page tells it: points and distance as words, number and unit apart, the places on the map alone. */
function liveOutcome(guess: Guess): HTMLElement[] {
  const points = guess.roundScoreInPoints;
  const [number = "", unit = ""] = formatDistance(guess.distanceInMeters).split(" ");
  return [
    el(
      "div",
      { class: "round-result_pointsIndicatorWrapper__h3kqF result-points" },
      el("div", { class: "round-result_score__y3Kb0" }, formatCount(points)),
      el("div", { class: "result-unit" }, "points"),
    ),
    bar(points / MAX_POINTS),
    el(
      "div",
      { class: "round-result_distanceIndicatorWrapper__f4Lm2 result-distance", "data-qa": "guess-description" },
      ...(guess.lat === null
        ? ["No pin"]
        : [el("span", {}, number), " ", el("span", {}, unit), el("div", { class: "result-unit" }, "from location")]),
    ),
  ];
}

/** The result of the whole game. */
export function finalResult(root: HTMLElement, game: Game, onPlayAgain: () => void): Result {
  const total = Number(game.player.totalScore.amount);
  const answers = game.player.guesses.map((_, i) => answerOf(game, i));
  const box = mapBox();
  const rows = game.player.guesses.map((guess, i) =>
    el(
      "li",
      { class: "summary-round", "data-qa": "summary-round" },
      el("span", { class: "summary-number" }, String(i + 1)),
      el("span", { class: "summary-name" }, isPlain() && (game.rounds[i]?.name ?? formatLatLng(answers[i]!.truth))),
      el("span", { class: "summary-distance" }, answers[i]!.pin ? formatDistance(guess.distanceInMeters) : "no pin"),
      el("span", { class: "summary-points" }, formatCount(guess.roundScoreInPoints)),
      game.rival && el("span", { class: "summary-points summary-rival" }, formatCount(rivalsGuess(game, i)?.roundScoreInPoints ?? 0)),
    ),
  );
  const element = el(
    "section",
    {
      class: "result-layout_root__NfX0v standard-final-result_wrapper__z1q0C result result-final",
      "data-qa": "final-result",
      "aria-label": "Result of the game",
    },
    box,
    el(
      "div",
      { class: "result-layout_bottomNew__p5vgC result-panel" },
      el("p", { class: "result-round" }, game.rival ? winner(totals(game)) : "Game over"),
      el(
        "p",
        {
          class: "standard-final-result_score__x9z8y result-points",
          "data-qa": "final-score",
          "data-points": String(total),
        },
        `${formatCount(total)} points`,
      ),
      bar(total / (MAX_POINTS * game.roundCount)),
      game.rival && rivalsTotal(game),
      el("ol", { class: game.rival ? "summary summary-versus" : "summary" }, ...rows),
      game.rival && saveButton(game),
      el(
        "button",
        {
          type: "button",
          class: "button_button__aR6_e button_variantPrimary__u3WzI button",
          "data-qa": "play-again-button",
          click: onPlayAgain,
        },
        "Play again",
      ),
    ),
  );
  return new Result(root, element, box, answers);
}

function rivalsTotal(game: Game): HTMLElement {
  const { machine } = totals(game);
  return el(
    "p",
    { class: "result-rival", "data-qa": "rival-score", "data-points": String(machine) },
    `${RIVAL}: `,
    el("strong", {}, `${formatCount(machine)} points`),
  );
}

/** Saves the picture of the game. */
function saveButton(game: Game): HTMLElement {
  const save = async () => {
    const { card } = await import("./share-image");
    const address = URL.createObjectURL(await card(game));
    const link = document.createElement("a");
    [link.href, link.download] = [address, "landfall-versus.png"];
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  };
  const click = () => void save().catch(showError);
  return el("button", { type: "button", class: "button button-quiet", "data-qa": "save-card-button", click }, "Save as a picture");
}

function answerOf(game: Game, i: number): Answer {
  const round = game.rounds[i];
  const guess = game.player.guesses[i];
  if (round?.lat === undefined || round.lng === undefined || !guess) {
    throw new Error(`The arena sent no result for round ${i + 1}.`);
  }
  const pin = guess.lat !== null && guess.lng !== null ? { lat: guess.lat, lng: guess.lng } : null;
  return { truth: { lat: round.lat, lng: round.lng }, pin, rival: rivalsPin(game, i) };
}

function mapBox(): HTMLElement {
  return el("div", { class: "result-layout_map__c3Vd8 results-map", "data-qa": "results-map" });
}

function placeLink(qa: string, place: LatLng): HTMLElement {
  return el(
    "a",
    {
      "data-qa": qa,
      "data-lat": String(place.lat),
      "data-lng": String(place.lng),
      href: `https://www.openstreetmap.org/?mlat=${place.lat}&mlon=${place.lng}#map=6/${place.lat}/${place.lng}`,
      target: "_blank",
      rel: "noopener noreferrer",
    },
    formatLatLng(place),
  );
}

/** A bar of points, which grows once it is on the page. */
function bar(share: number): HTMLElement {
  const bar = el("div", { class: "bar" }, el("div", { class: "bar-fill" }));
  requestAnimationFrame(() => requestAnimationFrame(() => bar.style.setProperty("--share", String(share))));
  return bar;
}
