// What this browser remembers of the person's choices; nothing, where its storage is switched off.

type Key = "landfall-bundle" | "landfall-tiles";

export function recall(key: Key): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Remembers a choice; `null` forgets it. */
export function remember(key: Key, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Then it is asked again next time.
  }
}
