// Converts an image to the encoder's inputs, with the same decoder as the agent so that both read the same files and get
// the same pixels. Large images are decoded at a smaller size.
//
// Formats that it does not support, such as HEIC, are decoded by the browser if that supports them.
import { type Preprocessed, type WasmModel, InvalidInputError } from "./model-wasm";
import { pixelsAreAltered, tooOld } from "./support";
import { EngineError } from "./types";

/** The browser scales larger images down to this longer side in pixels, far more than the encoder's input. */
const MAX_SIDE = 2048;

/** The encoder's inputs. Closes `view` if it is a bitmap. */
export async function preprocess(model: WasmModel, view: Blob | ImageBitmap): Promise<Preprocessed> {
  if (!(view instanceof Blob)) return fromBitmap(model, view);
  const bytes = new Uint8Array(
    await view.arrayBuffer().catch(() => {
      throw new EngineError("unreadable", "The image file cannot be read: choose it again.");
    }),
  );
  const size = attempt(() => model.dimensions(bytes));
  if (size instanceof InvalidInputError) {
    if (/megapixels/.test(size.message)) throw new EngineError("too-large", `This image is too large: ${size.message}.`);
    return fromBitmap(model, await decodeInBrowser(view, undefined, size.message));
  }
  const decoded = size && attempt(() => model.preprocessFile(bytes));
  if (decoded instanceof InvalidInputError) throw unreadable(decoded.message);
  return decoded ?? fromBitmap(model, await decodeInBrowser(view, size, "there is not enough memory"));
}

/** Decodes with the browser: upright and in sRGB. */
async function decodeInBrowser(view: Blob, size: [number, number] | undefined, reason: string): Promise<ImageBitmap> {
  const options: ImageBitmapOptions = { imageOrientation: "from-image" };
  if (size && Math.max(...size) > MAX_SIDE) {
    // Only one side: the EXIF orientation may swap width and height.
    options[size[0] > size[1] ? "resizeWidth" : "resizeHeight"] = MAX_SIDE;
    options.resizeQuality = "high";
  }
  try {
    return await createImageBitmap(view, options);
  } catch {
    throw unreadable(reason);
  }
}

/** `reason` is that of the module (`model/src/images/error.rs`), as the agent prints it. */
function unreadable(reason: string): EngineError {
  const format = /^(.+) is not supported here/.exec(reason)?.[1];
  const message = format
    ? `This browser does not support ${format} images`
    : `This file is not a readable image (${reason})`;
  return new EngineError("unreadable", `${message}: choose a JPEG, PNG or WebP file.`);
}

function fromBitmap(model: WasmModel, bitmap: ImageBitmap): Preprocessed {
  try {
    if (typeof OffscreenCanvas === "undefined") throw tooOld("camera images");
    if (pixelsAreAltered()) {
      const message =
        "This browser alters the images that pages read (protection from fingerprinting): choose a photo as a JPEG, PNG " +
        "or WebP file instead, or allow this site to read images.";
      throw new EngineError("unsupported", message);
    }
    const { width, height } = bitmap;
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (!context)
      throw new EngineError(
        "no-memory",
        "There is not enough memory for this image: close other tabs or choose a smaller one.",
      );
    // What is transparent is shown on white.
    context.fillStyle = "white";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, width, height);
    return { squares: model.preprocessPixels(new Uint8Array(data.buffer), width, height), warning: null };
  } finally {
    bitmap.close();
  }
}

/** The result of `read`, or why the module rejects the file; `undefined` if memory ran out. */
function attempt<T>(read: () => T): T | InvalidInputError | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof InvalidInputError) return error;
    if (error instanceof EngineError && error.kind === "no-memory") return undefined;
    throw error;
  }
}
