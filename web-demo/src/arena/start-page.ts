// The start page: what the arena is, how to play, and the button that begins.

import { createGame, type GameMap, type Rules } from "./api";
import { showError } from "./dialogs";
import { el } from "./dom";
import { RIVAL, series } from "./opponent";

const TIME_LIMITS: [string, number][] = [
  ["No limit", 0],
  ["2 min", 120],
  ["1 min", 60],
  ["30 s", 30],
];

/** Creates a game and goes to its page. */
export async function startGame(map: string, rules: Rules): Promise<void> {
  const game = await createGame(map, rules);
  location.assign(`/game/${game.token}`);
}

export function showStart(root: HTMLElement, map: GameMap): void {
  const limits = el("fieldset", { class: "choice" }, el("legend", {}, "Time for a round"));
  for (const [label, seconds] of TIME_LIMITS) {
    const input = el("input", { type: "radio", name: "limit", value: String(seconds), checked: seconds === 0 });
    limits.append(el("label", {}, input, el("span", {}, label)));
  }
  const fixed = el("input", { type: "checkbox", name: "fixed" });
  const form = el(
    "form",
    {
      class: "start-form",
      submit: (event) => {
        event.preventDefault();
        play.disabled = true;
        const timeLimit = Number(new FormData(form).get("limit") ?? 0);
        const still = fixed.checked;
        startGame(map.slug, { timeLimit, forbidMoving: true, forbidZooming: still, forbidRotating: still }).catch((error) => {
          play.disabled = false;
          showError(error);
        });
      },
    },
    limits,
    el("label", { class: "switch" }, fixed, el("span", {}, "Fixed view: no turning, no zooming")),
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
      el("p", { class: "start-kicker" }, "Practice ground"),
      el("h1", { "data-qa": "map-name" }, map.name),
      el(
        "p",
        { class: "start-lead" },
        "Look around. Work out where on earth you are. Put your pin on the map: the closer, the more points.",
        versus && ` You play against ${RIVAL} (${versus.name}), which is shown the same and pins after you. ${series(map)}`,
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
        ...["Drag or ", kbd("A"), kbd("D"), " to turn, ", kbd("N"), " north, ", kbd("R"), " reset, ", kbd("Space"), " guess"],
      ),
    ),
  );
}

function kbd(key: string): HTMLElement {
  return el("kbd", {}, key);
}

/** The earth at zoom 3, from the arena's own tiles. */
function backdrop(): HTMLElement {
  const world = el("div", { class: "backdrop", "aria-hidden": "true" });
  for (let y = 1; y < 6; y++) {
    for (let x = 0; x < 8; x++) world.append(el("img", { src: `/tiles/3/${x}/${y}.png`, alt: "", draggable: "false" }));
  }
  return world;
}
