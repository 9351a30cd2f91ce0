// Backends that failed in this browser. They are tried again after an update of the browser, and after a month.

import type { RejectedBackend } from "../engine/types";
import { getPreference, setPreference } from "./preferences";

const KEPT_MS = 30 * 24 * 3_600_000;

interface Memory {
  browser: string;
  until: number;
  rejected: RejectedBackend[];
}

export function rejectedBackends(): RejectedBackend[] {
  try {
    const memory = JSON.parse(getPreference("landfall-backends") ?? "") as Memory;
    return memory.browser === navigator.userAgent && Date.now() < memory.until ? memory.rejected : [];
  } catch {
    return []; // nothing has been stored
  }
}

/** An error may have a passing cause, such as a lack of memory, and is not kept. */
export function rememberRejection(rejected: RejectedBackend): void {
  if (rejected.reason === "failed") return;
  const memory: Memory = {
    browser: navigator.userAgent,
    until: Date.now() + KEPT_MS,
    rejected: [...rejectedBackends().filter(({ backend }) => backend !== rejected.backend), rejected],
  };
  setPreference("landfall-backends", JSON.stringify(memory));
}
