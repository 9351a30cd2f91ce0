// From a picture to the encoder's inputs, with the agent's own decoder, so that both see the same pixels.
//
// What that cannot read, or what is too large for it, goes through the browser's decoder.
import { type Core, Refused } from "./model-wasm";
import { EngineError } from "./types";

/** Megapixels up to which our decoder is used: more would take too much memory on a phone. */
const MOST_OURS = 26;
/** Megapixels up to which a picture is read at all. */
const MOST = 64;
/** Side in pixels that a picture too large for our decoder is shrunk to: far more than an encoder looks at. */
const SIDE = 2048;

/** The encoder's inputs, square after square. A bitmap is closed. */
export async function tensors(core: Core, view: Blob | ImageBitmap): Promise<Float32Array> {
  if (!(view instanceof Blob)) return fromBitmap(core, view);
  const bytes = new Uint8Array(await view.arrayBuffer().catch(() => {
    throw new EngineError("unreadable", "The picture's file cannot be read: pick it again.");
  }));
  const size = tried(() => core.dimensions(bytes));
  const megapixels = size ? (size[0] * size[1]) / 1e6 : 0;
  if (megapixels > MOST) {
    const message = `The picture has ${Math.round(megapixels)} megapixels, ${MOST} at most can be read here: pick a smaller copy of it.`;
    throw new EngineError("too-large", message);
  }
  const ours = size && megapixels <= MOST_OURS ? tried(() => core.picture(bytes)) : undefined;
  return ours ?? fromBitmap(core, await browsers(view, bytes, size));
}

/** The browser's way, upright and with the file's own colours. */
async function browsers(view: Blob, bytes: Uint8Array, size: [number, number] | undefined): Promise<ImageBitmap> {
  const options: ImageBitmapOptions = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  if (size && Math.max(...size) > SIDE) {
    // One side alone: which is the longer one depends on how the picture is turned.
    options[size[0] > size[1] ? "resizeWidth" : "resizeHeight"] = SIDE;
    options.resizeQuality = "high";
  }
  try {
    return await createImageBitmap(view, options);
  } catch {
    const what = isHeic(bytes) ? "HEIC pictures cannot be read by this browser" : "This file is no picture that can be read, or it is damaged";
    throw new EngineError("unreadable", `${what}: pick a JPEG, PNG or WebP.`);
  }
}

function fromBitmap(core: Core, bitmap: ImageBitmap): Float32Array {
  try {
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (!context) throw new EngineError("no-memory", "There is not enough memory for this picture: close other tabs, or pick a smaller one.");
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return core.pixels(new Uint8Array(data.buffer), width, height);
  } finally {
    bitmap.close();
  }
}

/** What the core says, `undefined` where it cannot say: it does not know the file, or its memory did not suffice. */
function tried<T>(ask: () => T): T | undefined {
  try {
    return ask();
  } catch (error) {
    if (error instanceof Refused || (error instanceof EngineError && error.kind === "no-memory")) return undefined;
    throw error;
  }
}

function isHeic(bytes: Uint8Array): boolean {
  return /^ftyp(heic|heix|hevc|heim|heis|mif1|msf1)/.test(new TextDecoder("latin1").decode(bytes.subarray(4, 12)));
}
