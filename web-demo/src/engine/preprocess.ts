// Converts an image to the encoder's inputs, with the same decoder as the agent so that both get the same pixels.
//
// Formats that it does not support and images that are too large for it are decoded by the browser.
import { type WasmModel, InvalidInputError } from "./model-wasm";
import { EngineError } from "./types";

/** Larger images are decoded by the browser: the WebAssembly decoder would take too much memory on a phone. */
const MAX_WASM_MEGAPIXELS = 26;
/** Larger images are rejected. */
const MAX_MEGAPIXELS = 64;
/** The browser scales larger images down to this longer side in pixels, far more than the encoder's input. */
const MAX_SIDE = 2048;

/** The encoder's inputs, one square after another. Closes `view` if it is a bitmap. */
export async function preprocess(model: WasmModel, view: Blob | ImageBitmap): Promise<Float32Array> {
  if (!(view instanceof Blob)) return fromBitmap(model, view);
  const bytes = new Uint8Array(
    await view.arrayBuffer().catch(() => {
      throw new EngineError("unreadable", "The image file cannot be read: choose it again.");
    }),
  );
  const size = attempt(() => model.dimensions(bytes));
  const megapixels = size ? (size[0] * size[1]) / 1e6 : 0;
  if (megapixels > MAX_MEGAPIXELS) {
    const message = `The image has ${Math.round(megapixels)} megapixels, the limit is ${MAX_MEGAPIXELS}: choose a smaller copy.`;
    throw new EngineError("too-large", message);
  }
  const decoded = size && megapixels <= MAX_WASM_MEGAPIXELS ? attempt(() => model.preprocessFile(bytes)) : undefined;
  return decoded ?? fromBitmap(model, await decodeInBrowser(view, bytes, size));
}

/** Decodes with the browser: upright, without colour conversion. */
async function decodeInBrowser(
  view: Blob,
  bytes: Uint8Array,
  size: [number, number] | undefined,
): Promise<ImageBitmap> {
  const options: ImageBitmapOptions = { imageOrientation: "from-image", colorSpaceConversion: "none" };
  if (size && Math.max(...size) > MAX_SIDE) {
    // Only one side: the EXIF orientation may swap width and height.
    options[size[0] > size[1] ? "resizeWidth" : "resizeHeight"] = MAX_SIDE;
    options.resizeQuality = "high";
  }
  try {
    return await createImageBitmap(view, options);
  } catch {
    const reason = isHeic(bytes) ? "This browser does not support HEIC images" : "This file is not a readable image";
    throw new EngineError("unreadable", `${reason}: choose a JPEG, PNG or WebP file.`);
  }
}

function fromBitmap(model: WasmModel, bitmap: ImageBitmap): Float32Array {
  try {
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (!context)
      throw new EngineError(
        "no-memory",
        "There is not enough memory for this image: close other tabs or choose a smaller one.",
      );
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return model.preprocessPixels(new Uint8Array(data.buffer), width, height);
  } finally {
    bitmap.close();
  }
}

/** The result of `read`; `undefined` if the format is not supported or memory ran out. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof InvalidInputError || (error instanceof EngineError && error.kind === "no-memory"))
      return undefined;
    throw error;
  }
}

function isHeic(bytes: Uint8Array): boolean {
  return /^ftyp(heic|heix|hevc|heim|heis|mif1|msf1)/.test(new TextDecoder("latin1").decode(bytes.subarray(4, 12)));
}
