// A worker that shows that threads start and share memory; see `hasSharedThreads`.

self.onmessage = ({ data }: MessageEvent<WebAssembly.Memory>) => {
  Atomics.store(new Int32Array(data.buffer), 0, 1);
  self.postMessage(null);
};
