// An answer's cells as heat on the map, and the outlines of its regions.

import type { Prediction, CellProbability } from "../engine/types";
import { outline, trace, WORLD } from "./basemap";

/** How much of the map the likeliest cell covers. */
const FULL = 0.8;

export interface Heat {
  /** The whole earth, `WORLD` units wide and high. */
  picture: HTMLCanvasElement;
  half: Path2D;
  most: Path2D;
}

/** The ways of cells on the map by their tokens: live, the same ones come again and again. */
const paths = new Map<string, Path2D>();

function pathOf({ token, ring }: CellProbability): Path2D {
  const path = paths.get(token) ?? trace(outline(ring));
  paths.set(token, path);
  return path;
}

/** Heat in a colour: the likeliest cell is full, each next one has what probability is left over. */
export function heatOf({ cells, region50, region90 }: Prediction, colour: string): Heat {
  const [sharp, picture] = [canvas(), canvas()];
  const ink = sharp.getContext("2d");
  const soft = picture.getContext("2d");
  if (ink && soft) {
    ink.fillStyle = colour;
    let left = 1;
    for (const cell of cells) {
      ink.globalAlpha = Math.max(0, FULL * left);
      // What is fainter than this is not seen.
      if (ink.globalAlpha < 0.01) break;
      ink.fill(pathOf(cell));
      left -= cell.p;
    }
    // Softened, so that no seams show between cells; where a browser cannot, the cells stay sharp.
    soft.filter = "blur(1.2px)";
    soft.drawImage(sharp, 0, 0);
  }
  const region = (of: number[]) => {
    const whole = new Path2D();
    for (const i of of) if (cells[i]) whole.addPath(pathOf(cells[i]));
    return whole;
  };
  return { picture, half: region(region50), most: region(region90) };
}

function canvas(): HTMLCanvasElement {
  const made = document.createElement("canvas");
  made.width = made.height = WORLD;
  return made;
}
