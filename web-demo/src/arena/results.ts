// The result of a round, and the summary of a game.

import type * as L from "leaflet";
import type { Game, Guess } from "./api";
import { showError } from "./dialogs";
import { el } from "./dom";
import { formatCount, formatDistance, formatLatLng, type LatLng } from "../geometry";
import { showResults, type RoundResult } from "./maps";
import { OPPONENT_NAME, opponentGuess, opponentOutcome, opponentPin, totals, winnerText } from "./opponent";
import { isPlain } from "./structure";

const MAX_POINTS = 5000;

/** An overlay with a map. */
export class ResultView {
  readonly element: HTMLElement;
  private readonly map: L.Map;

  constructor(
    root: HTMLElement,
    element: HTMLElement,
    mapElement: HTMLElement,
    results: RoundResult[],
    delayOpponent = false,
  ) {
    this.element = element;
    root.append(element);
    this.map = showResults(mapElement, results, delayOpponent);
  }

  remove(): void {
    this.map.remove();
    this.element.remove();
  }
}

/** Shows the result of the latest round. */
export function roundResult(root: HTMLElement, game: Game, onNext: () => void): ResultView {
  const n = game.player.guesses.length;
  const result = resultOf(game, n - 1);
  const guess = game.player.guesses[n - 1]!;
  const round = game.rounds[n - 1]!;
  const last = game.state === "finished";
  const mapElement = createMapElement();
  const element = el(
    "section",
    {
      class: "result-layout_root__NfX0v round-result_wrapper__v2Ac9 result",
      "data-qa": "round-result",
      "aria-label": `Result of round ${n}`,
    },
    mapElement,
    el(
      "div",
      { class: "result-layout_bottomNew__p5vgC result-panel", "data-qa": "result-view-top" },
      el("p", { class: "result-round" }, `Round ${n} of ${game.roundCount}`),
      ...(isPlain() ? plainOutcome(guess, result) : liveOutcome(guess)),
      opponentOutcome(game, n - 1),
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
  return new ResultView(root, element, mapElement, [result], true);
}

/** Points, distance and coordinates in the arena's own structure. */
function plainOutcome(guess: Guess, { pin, truth }: RoundResult): HTMLElement[] {
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
            " from the correct location.",
          ]
        : ["Time ran out before a pin was placed."]),
    ),
    el(
      "dl",
      { class: "result-places" },
      ...(pin ? [el("dt", {}, "Your pin"), el("dd", {}, locationLink("guess-location", pin))] : []),
      el("dt", {}, "Correct location"),
      el("dd", {}, locationLink("correct-location", truth)),
    ),
  ];
}

/** As on the live page: number and unit in separate elements, coordinates only on the map. */
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

/** Shows the summary of the game. */
export function finalResult(root: HTMLElement, game: Game, onPlayAgain: () => void): ResultView {
  const total = Number(game.player.totalScore.amount);
  const results = game.player.guesses.map((_, i) => resultOf(game, i));
  const mapElement = createMapElement();
  const rows = game.player.guesses.map((guess, i) =>
    el(
      "li",
      { class: "summary-round", "data-qa": "summary-round" },
      el("span", { class: "summary-number" }, String(i + 1)),
      el("span", { class: "summary-name" }, isPlain() && (game.rounds[i]?.name ?? formatLatLng(results[i]!.truth))),
      el("span", { class: "summary-distance" }, results[i]!.pin ? formatDistance(guess.distanceInMeters) : "no pin"),
      el("span", { class: "summary-points" }, formatCount(guess.roundScoreInPoints)),
      game.rival &&
        el(
          "span",
          { class: "summary-points summary-rival" },
          formatCount(opponentGuess(game, i)?.roundScoreInPoints ?? 0),
        ),
    ),
  );
  const element = el(
    "section",
    {
      class: "result-layout_root__NfX0v standard-final-result_wrapper__z1q0C result result-final",
      "data-qa": "final-result",
      "aria-label": "Result of the game",
    },
    mapElement,
    el(
      "div",
      { class: "result-layout_bottomNew__p5vgC result-panel" },
      el("p", { class: "result-round" }, game.rival ? winnerText(totals(game)) : "Game over"),
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
      game.rival && opponentTotal(game),
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
  return new ResultView(root, element, mapElement, results);
}

function opponentTotal(game: Game): HTMLElement {
  const { machine } = totals(game);
  return el(
    "p",
    { class: "result-rival", "data-qa": "rival-score", "data-points": String(machine) },
    `${OPPONENT_NAME}: `,
    el("strong", {}, `${formatCount(machine)} points`),
  );
}

/** A button that downloads an image of the game. */
function saveButton(game: Game): HTMLElement {
  const save = async () => {
    const { renderShareImage } = await import("./share-image");
    const address = URL.createObjectURL(await renderShareImage(game));
    const link = document.createElement("a");
    [link.href, link.download] = [address, "landfall-versus.png"];
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  };
  const click = () => void save().catch(showError);
  return el(
    "button",
    { type: "button", class: "button button-secondary", "data-qa": "save-card-button", click },
    "Save as image",
  );
}

function resultOf(game: Game, i: number): RoundResult {
  const round = game.rounds[i];
  const guess = game.player.guesses[i];
  if (round?.lat === undefined || round.lng === undefined || !guess) {
    throw new Error(`The arena's response does not contain the result of round ${i + 1}.`);
  }
  const pin = guess.lat !== null && guess.lng !== null ? { lat: guess.lat, lng: guess.lng } : null;
  return { truth: { lat: round.lat, lng: round.lng }, pin, opponent: opponentPin(game, i) };
}

function createMapElement(): HTMLElement {
  return el("div", { class: "result-layout_map__c3Vd8 results-map", "data-qa": "results-map" });
}

function locationLink(qa: string, place: LatLng): HTMLElement {
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

/** A score bar that is animated when it has been added to the page. */
function bar(fraction: number): HTMLElement {
  const bar = el("div", { class: "bar" }, el("div", { class: "bar-fill" }));
  requestAnimationFrame(() => requestAnimationFrame(() => bar.style.setProperty("--fraction", String(fraction))));
  return bar;
}
