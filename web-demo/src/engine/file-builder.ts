// Puts a file together from its parts and inflates it on the way if it is a gzip file.
import { type Bytes, DownloadBuffer } from "./download";
import { isGzip } from "./gzip";
import { tooOld } from "./support";

/** This many bytes are inflated at a time, since the inflated ones wait in memory until they are collected. */
const STEP_BYTES = 1 << 20;

/** Collects the bytes of one file, part by part. Only the finished contents are kept. */
export class FileBuilder {
  readonly #size: number | undefined;
  #contents: DownloadBuffer | undefined;
  #inflating: { writer: WritableStreamDefaultWriter<Bytes>; finished: Promise<DownloadBuffer> } | undefined;
  #single: Bytes | undefined;

  /** `size` is that of the contents, if known. */
  constructor(size: number | undefined) {
    this.#size = size;
  }

  /** Adds the next part. Rejects if it is not valid gzip data. */
  async push(part: Bytes): Promise<void> {
    const isFirst = !this.#single && !this.#contents && !this.#inflating;
    if (isFirst && isGzip(part)) this.#inflating = inflate(this.#size);
    if (this.#inflating) {
      const { writer } = this.#inflating;
      for (let from = 0; from < part.length; from += STEP_BYTES)
        await writer.write(part.subarray(from, from + STEP_BYTES));
      return;
    }
    // A file of one part, the most common case, is not copied.
    if (isFirst) {
      this.#single = part;
      return;
    }
    this.#contents ??= new DownloadBuffer(this.#size);
    if (this.#single) this.#contents.push(this.#single);
    this.#single = undefined;
    this.#contents.push(part);
  }

  /** The contents. Rejects if the gzip data ends too early. */
  async finish(): Promise<Bytes> {
    if (!this.#inflating) return this.#single ?? (this.#contents ?? new DownloadBuffer()).bytes;
    const { writer, finished } = this.#inflating;
    await writer.close();
    return (await finished).bytes;
  }
}

function inflate(size: number | undefined) {
  if (typeof DecompressionStream === "undefined") throw tooOld("this model");
  const { readable, writable } = new DecompressionStream("gzip");
  const finished = collect(readable, size);
  finished.catch(() => undefined); // the writer reports the error too
  return { writer: writable.getWriter(), finished };
}

async function collect(readable: ReadableStream<Uint8Array>, size: number | undefined): Promise<DownloadBuffer> {
  const contents = new DownloadBuffer(size);
  const reader = readable.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return contents;
    contents.push(value);
  }
}
