// Error messages, and optional dialogs like those on live pages.

import { el } from "./dom";

const CONSENT_KEY = "landfall-arena-consent";

/** Shows a modal dialog. Resolves when its button is pressed. */
function dialog(
  title: string,
  text: string,
  attributes: Record<string, string>,
  label: string,
  extraClass = "",
): Promise<void> {
  return new Promise((resolve) => {
    const close = () => {
      overlay.remove();
      resolve();
    };
    const button = el("button", { type: "button", class: "button", ...attributes, click: close }, label);
    const overlay = el(
      "div",
      { class: `${extraClass} dialog-overlay`.trim(), role: "dialog", "aria-modal": "true", "aria-label": title },
      el("div", { class: "dialog" }, el("h2", {}, title), el("p", {}, text), button),
    );
    document.body.append(overlay);
    button.focus();
  });
}

/** Shows the consent dialog, once per browser session. */
export async function askConsent(): Promise<void> {
  if (sessionStorage.getItem(CONSENT_KEY)) return;
  const text =
    "This dialog imitates the consent dialogs of live pages, so that automatic players can be tested with it. " +
    "The arena runs on this computer and collects nothing.";
  await dialog("We value your privacy", text, { id: "onetrust-accept-btn-handler" }, "Accept all");
  sessionStorage.setItem(CONSENT_KEY, "yes");
}

/** Shows the message before the first round. */
export function showInterstitial(rounds: number): Promise<void> {
  return dialog(
    "Ready?",
    `You will see ${rounds} ${rounds === 1 ? "place" : "places"}. Look around, then place your pin where you think you are.`,
    { "data-qa": "interstitial-message-continue-to-game" },
    "Continue to game",
  );
}

/** Shows a level-up message over the result of a round. */
export function showLevelUp(): Promise<void> {
  const text = "This message imitates those that live pages show between rounds.";
  return dialog("Level up!", text, {}, "Continue", "result-overlay_overlay__b8Tz1");
}

/** Shows an error, which replaces the previous one. */
export function showError(error: unknown, action?: { label: string; run: () => void }): void {
  hideError();
  const message = error instanceof Error ? error.message : String(error);
  const onClick = () => {
    hideError();
    action?.run();
  };
  document.body.append(
    el(
      "div",
      { class: "error", role: "alert" },
      el("p", {}, message),
      el("button", { type: "button", class: "button button-small", click: onClick }, action?.label ?? "Close"),
    ),
  );
}

export function hideError(): void {
  document.querySelector(".error")?.remove();
}
