// An answer's cells as heat on the map, and the outlines of its regions.

import type { Answer } from "../engine/types";
import { outline, trace, WORLD } from "./world";

/** Pixels of the heat's picture to one unit of the map. */
const DETAIL = 2;

/** How much of the map the likeliest cell covers. */
const FULL = 0.8;

export interface Heat {
  /** The whole earth, `WORLD` units wide and high. */
  picture: HTMLCanvasElement;
  half: Path2D;
  most: Path2D;
}

/** Heat in a colour: the likeliest cell is full, each next one has what probability is left over. */
export function heatOf({ cells, region50, region90 }: Answer, colour: string): Heat {
  const shapes = cells.map(({ ring }) => outline(ring));
  const sharp = canvas();
  const ink = sharp.getContext("2d");
  const picture = canvas();
  const soft = picture.getContext("2d");
  if (ink && soft) {
    ink.scale(DETAIL, DETAIL);
    ink.fillStyle = colour;
    let left = 1;
    shapes.forEach((shape, i) => {
      ink.globalAlpha = Math.max(0, FULL * left);
      ink.fill(trace(shape));
      left -= cells[i]?.p ?? 0;
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
