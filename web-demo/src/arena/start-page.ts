// The start page: description, options and the button that starts a game.

import { createGame, type GameMap, type Rules } from "./api";
import { showError } from "./dialogs";
import { el } from "./dom";
import { OPPONENT_NAME, series } from "./opponent";

const TIME_LIMITS: [string, number][] = [
  ["No limit", 0],
  ["2 min", 120],
  ["1 min", 60],
  ["30 s", 30],
];

/** Creates a game and opens its page. */
export async function startGame(map: string, rules: Rules): Promise<void> {
  const game = await createGame(map, rules);
  location.assign(`/game/${game.token}`);
}

export function showStart(root: HTMLElement, map: GameMap): void {
  const limits = el("fieldset", { class: "option-group" }, el("legend", {}, "Time limit per round"));
  for (const [label, seconds] of TIME_LIMITS) {
    const input = el("input", { type: "radio", name: "limit", value: String(seconds), checked: seconds === 0 });
    limits.append(el("label", {}, input, el("span", {}, label)));
  }
  const fixedView = el("input", { type: "checkbox", name: "fixed" });
  const form = el(
    "form",
    {
      class: "start-form",
      submit: (event) => {
        event.preventDefault();
        play.disabled = true;
        const timeLimit = Number(new FormData(form).get("limit") ?? 0);
        const isFixed = fixedView.checked;
        startGame(map.slug, { timeLimit, forbidMoving: true, forbidZooming: isFixed, forbidRotating: isFixed }).catch(
          (error) => {
            play.disabled = false;
            showError(error);
          },
        );
      },
    },
    limits,
    el("label", { class: "switch" }, fixedView, el("span", {}, "Fixed view: no rotation, no zoom")),
  );
  const play = el(
    "button",
    {
      type: "submit",
      class: "button_button__aR6_e button_variantPrimary__u3WzI button button-large",
      "data-qa": "start-game-button",
    },
    "Play",
  );
  form.append(play);
  const { places, roundCount, versus } = map.arena;
  root.replaceChildren(
    backdrop(),
    el(
      "main",
      { class: "start play_section__k9Qe2" },
      el("p", { class: "start-label" }, "Practice game"),
      el("h1", { "data-qa": "map-name" }, map.name),
      el(
        "p",
        { class: "start-lead" },
        "Look around, work out where on Earth you are and place your pin on the map. The closer it is, the more points you get.",
        versus &&
          ` You play against ${OPPONENT_NAME} (${versus.name}), which sees the same images and guesses after you. ${series(map)}`,
      ),
      el(
        "p",
        { class: "start-facts" },
        `${roundCount} ${roundCount === 1 ? "round" : "rounds"} from ${places} ${places === 1 ? "place" : "places"}, up to ${(roundCount * 5000).toLocaleString("en-US")} points`,
      ),
      form,
      el(
        "p",
        { class: "start-keys" },
        ...[
          "Drag or ",
          keyLabel("A"),
          keyLabel("D"),
          " to turn, ",
          keyLabel("N"),
          " north, ",
          keyLabel("R"),
          " reset, ",
          keyLabel("Space"),
          " guess",
        ],
      ),
    ),
  );
}

function keyLabel(key: string): HTMLElement {
  return el("kbd", {}, key);
}

/** A decorative world map of the arena's tiles at zoom 3. */
function backdrop(): HTMLElement {
  const world = el("div", { class: "backdrop", "aria-hidden": "true" });
  for (let y = 1; y < 6; y++) {
    for (let x = 0; x < 8; x++) world.append(el("img", { src: `/tiles/3/${x}/${y}.png`, alt: "", draggable: "false" }));
  }
  return world;
}
