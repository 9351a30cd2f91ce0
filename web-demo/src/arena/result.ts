// What comes after a guess: how far off it was, and the score of the game.

import type * as L from "leaflet";
import type { Game } from "./api";
import { el } from "./dom";
import { formatCount, formatDistance, formatPlace, type Place } from "./geometry";
import { showResults, type Answer } from "./maps";

const MAX_POINTS = 5000;

/** An overlay on the page with a map in it. */
export class Result {
  readonly element: HTMLElement;
  private readonly map: L.Map;

  constructor(root: HTMLElement, element: HTMLElement, box: HTMLElement, answers: Answer[]) {
    this.element = element;
    root.append(element);
    this.map = showResults(box, answers);
    fillBars(element);
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
  const points = guess.roundScoreInPoints;
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
      el(
        "p",
        {
          class: "round-result_score__y3Kb0 result-points",
          "data-qa": "round-points",
          "data-points": String(points),
        },
        `${formatCount(points)} points`,
      ),
      bar(points / MAX_POINTS),
      el(
        "p",
        { class: "round-result_distanceIndicatorWrapper__f4Lm2 result-distance", "data-qa": "guess-description" },
        ...(answer.pin
          ? [
              "Your pin was ",
              el(
                "strong",
                { "data-qa": "round-distance", "data-metres": String(guess.distanceInMeters) },
                formatDistance(guess.distanceInMeters),
              ),
              " from the place.",
            ]
          : ["Time ran out before a pin was placed."]),
      ),
      el(
        "dl",
        { class: "result-places" },
        ...(answer.pin ? [el("dt", {}, "Your pin"), el("dd", {}, placeLink("guess-location", answer.pin))] : []),
        el("dt", {}, "The place"),
        el("dd", {}, placeLink("correct-location", answer.truth)),
      ),
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
      el("p", { class: "result-credits" }, [round.name, round.credits].filter(Boolean).join(" · ")),
    ),
  );
  return new Result(root, element, box, [answer]);
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
      el("span", { class: "summary-name" }, game.rounds[i]?.name ?? formatPlace(answers[i]!.truth)),
      el("span", { class: "summary-distance" }, answers[i]!.pin ? formatDistance(guess.distanceInMeters) : "no pin"),
      el("span", { class: "summary-points" }, formatCount(guess.roundScoreInPoints)),
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
      el("p", { class: "result-round" }, "Game over"),
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
      el("ol", { class: "summary" }, ...rows),
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

function answerOf(game: Game, i: number): Answer {
  const round = game.rounds[i];
  const guess = game.player.guesses[i];
  if (round?.lat === undefined || round.lng === undefined || !guess) {
    throw new Error(`The arena sent no result for round ${i + 1}.`);
  }
  const pin = guess.lat !== null && guess.lng !== null ? { lat: guess.lat, lng: guess.lng } : null;
  return { truth: { lat: round.lat, lng: round.lng }, pin };
}

function mapBox(): HTMLElement {
  return el("div", { class: "result-layout_map__c3Vd8 results-map", "data-qa": "results-map" });
}

function placeLink(qa: string, place: Place): HTMLElement {
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
    formatPlace(place),
  );
}

function bar(share: number): HTMLElement {
  return el("div", { class: "bar", "data-share": String(share) }, el("div", { class: "bar-fill" }));
}

/** Lets the bars of points grow once they are on the page. */
function fillBars(element: HTMLElement): void {
  for (const bar of element.querySelectorAll<HTMLElement>(".bar")) {
    requestAnimationFrame(() => requestAnimationFrame(() => bar.style.setProperty("--share", bar.dataset.share ?? "0")));
  }
}
