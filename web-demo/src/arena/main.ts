// Entry point of the arena: start page at / and /maps/NAME, game at /game/TOKEN.

import "./arena.css";
import "./arena-game.css";
import "./arena-results.css";
import { readMap } from "./api";
import { askConsent, showError } from "./dialogs";
import { GamePage } from "./game-page";
import { showStart } from "./start-page";
import { setStructure } from "./structure";

const root = document.querySelector<HTMLElement>("#app")!;
const token = /^\/(?:game|results)\/([^/]+)\/?$/.exec(location.pathname)?.[1];

try {
  const map = await readMap();
  setStructure(map.arena.structure);
  document.title = map.name;
  if (map.arena.consent) void askConsent();
  if (token) await new GamePage(root, token, map).start();
  else showStart(root, map);
} catch (error) {
  showError(error, { label: "Go to the start page", run: () => location.assign("/") });
}
