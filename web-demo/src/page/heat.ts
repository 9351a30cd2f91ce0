// An answer's cells as heat on the map, and the outlines of its regions.

import { geoArea } from "d3-geo";
import type { Answer } from "../engine/types";
import { outline, trace, WORLD } from "./world";

/** Pixels of the heat's picture to one unit of the map. */
const DETAIL = 2;

export interface Heat {
  /** The whole earth, `WORLD` units wide and high. */
  picture: HTMLCanvasElement;
  half: Path2D;
  most: Path2D;
}

/** Heat in a colour: the densest cell is full, the others by the square root of how dense they are. */
export function heatOf({ cells, region50, region90 }: Answer, colour: string): Heat {
  const shapes = cells.map(({ ring }) => outline(ring));
  const density = cells.map(({ p }, i) => p / Math.max(geoArea(shapes[i]!), 1e-9));
  const densest = Math.max(...density, Number.MIN_VALUE);
  const sharp = canvas();
  const ink = sharp.getContext("2d");
  const picture = canvas();
  const soft = picture.getContext("2d");
  if (ink && soft) {
    ink.scale(DETAIL, DETAIL);
    ink.fillStyle = colour;
    shapes.forEach((shape, i) => {
      ink.globalAlpha = Math.min(0.95, Math.sqrt((density[i] ?? 0) / densest));
      ink.fill(trace(shape));
    });
    // Softened, so that no seams show between cells; where a browser cannot, the cells stay sharp.
    soft.filter = "blur(2.5px)";
    soft.drawImage(sharp, 0, 0);
  }
  const region = (of: number[]) => trace(...of.flatMap((i) => shapes[i] ?? []));
  return { picture, half: region(region50), most: region(region90) };
}

function canvas(): HTMLCanvasElement {
  const made = document.createElement("canvas");
  made.width = made.height = WORLD * DETAIL;
  return made;
}
