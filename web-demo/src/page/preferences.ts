// Preferences in local storage; not kept if the browser blocks it.

type Key = "landfall-bundle" | "landfall-tiles";

export function getPreference(key: Key): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

/** Stores a preference; `null` removes it. */
export function setPreference(key: Key, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, value);
  } catch {
    // Storage is blocked: the preference is lost.
  }
}
