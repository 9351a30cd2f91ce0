// Preferences in local storage; not kept if the browser blocks it.

/**
 * `landfall-backends`: see rejected-backends.ts; `landfall-bundle`: the model that the user chose; `landfall-larger`: why
 * the larger one is not downloaded by itself.
 */
type Key = "landfall-backends" | "landfall-bundle" | "landfall-larger" | "landfall-tiles";

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
