// The arena's page: the start at / and /maps/NAME, a game at /game/TOKEN.

import "./arena.css";
import { readMap } from "./api";
import { askConsent, showError } from "./dialogs";
import { Play } from "./game-page";
import { showStart } from "./start-page";
import { build } from "./structure";

const root = document.querySelector<HTMLElement>("#app")!;
const token = /^\/(?:game|results)\/([^/]+)\/?$/.exec(location.pathname)?.[1];

try {
  const map = await readMap();
  build(map.arena.structure);
  document.title = map.name;
  if (map.arena.consent) void askConsent();
  if (token) await new Play(root, token, map).start();
  else showStart(root, map);
} catch (error) {
  showError(error, { label: "Go to the start", go: () => location.assign("/") });
}
