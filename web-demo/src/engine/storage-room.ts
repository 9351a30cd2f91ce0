// Whether the browser has room for a download, asked before it begins.
import { formatMb } from "./download";
import { EngineError } from "./types";

/** Name of the file that reserves room for a moment. */
const RESERVATION = "landfall-room";

/** The part of the file system API that workers have. */
interface SyncAccessHandle {
  truncate(bytes: number): void;
  close(): void;
}

/**
 * Throws an error if the browser would not store this many bytes for this origin. Where it does not tell, as in private
 * windows, storing fails later.
 */
export async function requireRoom(bytes: number): Promise<void> {
  if (bytes === 0) return;
  const left = await estimatedRoom();
  if (bytes <= left && (await canReserve(bytes))) return;
  const reason = bytes > left ? `has ${formatMb(left)} MB left for this page` : "has no room for it";
  throw new EngineError("storage", `This model needs ${formatMb(bytes)} MB of storage, and the browser ${reason}.`);
}

/** The room in bytes by the browser's own estimate; infinite if there is none. Chromium's is never under 1 GiB. */
async function estimatedRoom(): Promise<number> {
  const storage = navigator.storage as StorageManager | undefined;
  const { quota, usage } = (await storage?.estimate?.().catch(() => undefined)) ?? {};
  return quota === undefined || usage === undefined ? Infinity : Math.max(0, quota - usage);
}

/** Whether a file can be made this long, which writes nothing. True if it cannot be tried. */
async function canReserve(bytes: number): Promise<boolean> {
  try {
    const root = await navigator.storage.getDirectory();
    const file = await root.getFileHandle(RESERVATION, { create: true });
    const handle = await (
      file as unknown as { createSyncAccessHandle(): Promise<SyncAccessHandle> }
    ).createSyncAccessHandle();
    try {
      handle.truncate(bytes);
    } finally {
      handle.close();
      await root.removeEntry(RESERVATION);
    }
    return true;
  } catch (error) {
    return !(error instanceof Error && error.name === "QuotaExceededError");
  }
}
