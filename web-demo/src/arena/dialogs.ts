// What gets in the way: errors, and on request the dialogs that live pages show.

import { el } from "./dom";

const CONSENT_KEY = "landfall-arena-consent";

/** A dialog over the page; settles when its button is pressed. */
function dialog(
  title: string,
  text: string,
  attributes: Record<string, string>,
  label: string,
  over = "",
): Promise<void> {
  return new Promise((done) => {
    const close = () => {
      overlay.remove();
      done();
    };
    const button = el("button", { type: "button", class: "button", ...attributes, click: close }, label);
    const overlay = el(
      "div",
      { class: `${over} dialog-overlay`.trim(), role: "dialog", "aria-modal": "true", "aria-label": title },
      el("div", { class: "dialog" }, el("h2", {}, title), el("p", {}, text), button),
    );
    document.body.append(overlay);
    button.focus();
  });
}

/** The consent dialog, once in a browser session. */
export async function askConsent(): Promise<void> {
  if (sessionStorage.getItem(CONSENT_KEY)) return;
  const text =
    "This dialog stands in for the consent dialogs of live pages, so that players can practise on it. " +
    "The arena runs on this computer and collects nothing.";
  await dialog("We value your privacy", text, { id: "onetrust-accept-btn-handler" }, "Accept all");
  sessionStorage.setItem(CONSENT_KEY, "yes");
}

/** The message before the first round. */
export function showInterstitial(rounds: number): Promise<void> {
  return dialog(
    "Ready?",
    `You will see ${rounds} ${rounds === 1 ? "place" : "places"}. Look around, then put your pin where you think you are.`,
    { "data-qa": "interstitial-message-continue-to-game" },
    "Continue to game",
  );
}

/** The message that a player has come a level higher, over the result of a round. */
export function showLevelUp(): Promise<void> {
  const text = "This message stands in for those that live pages show between rounds.";
  return dialog("Level up!", text, {}, "Continue", "result-overlay_overlay__b8Tz1");
}

/** Tells the player what went wrong. A new message replaces the last one. */
export function showError(error: unknown, way?: { label: string; go: () => void }): void {
  hideError();
  const message = error instanceof Error ? error.message : String(error);
  const act = () => {
    hideError();
    way?.go();
  };
  document.body.append(
    el(
      "div",
      { class: "error", role: "alert" },
      el("p", {}, message),
      el("button", { type: "button", class: "button button-small", click: act }, way?.label ?? "Close"),
    ),
  );
}

export function hideError(): void {
  document.querySelector(".error")?.remove();
}
