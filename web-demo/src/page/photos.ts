// The pictures of one place: how they are shown, picked and dropped.

import { el } from "../dom";
import { icon } from "./icons";

/** One picture, with the address under which the page shows it. */
export interface View {
  blob: Blob;
  address: string;
}

export function viewOf(blob: Blob): View {
  return { blob, address: URL.createObjectURL(blob) };
}

/** Lets go of pictures that are no longer shown. */
export function release(views: View[]): void {
  for (const { address } of views) URL.revokeObjectURL(address);
}

/** The pictures, one large; with several, a row to choose from. */
export function gallery(views: View[], label: string): HTMLElement {
  const large = el("img", { class: "picture", decoding: "async" });
  // What the picture leaves of its box is filled with itself, out of focus.
  const around = el("img", { class: "picture-around", alt: "", decoding: "async" });
  const show = (at: number) => {
    const view = views[at];
    if (!view) return;
    large.src = around.src = view.address;
    large.alt = views.length > 1 ? `${label}, view ${at + 1} of ${views.length}` : label;
    thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(i === at)));
  };
  const thumbs = views.map(({ address }, i) =>
    el(
      "button",
      { type: "button", class: "thumb", "aria-label": `View ${i + 1}`, click: () => show(i) },
      el("img", { src: address, alt: "" }),
    ),
  );
  show(views.length - 1);
  return el(
    "div",
    { class: "gallery" },
    around,
    large,
    views.length > 1 && el("div", { class: "thumbs", role: "group", "aria-label": "Views" }, ...thumbs),
  );
}

/** A button that opens the device's photos. */
export function picker(label: string, onPick: (files: File[]) => void, main = false): HTMLElement {
  const input = el("input", {
    type: "file",
    accept: "image/*",
    multiple: true,
    class: "unseen",
    change: () => {
      onPick([...(input.files ?? [])]);
      // The same photo can be picked again.
      input.value = "";
    },
  });
  return el("label", { class: main ? "button button-main" : "button" }, icon("picture"), label, input);
}

/** Takes photos that are dropped anywhere on the page. */
export function onDrop(take: (files: File[]) => void): void {
  const over = (is: boolean) => document.body.toggleAttribute("data-dropping", is);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    over(true);
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) over(false);
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    over(false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) take(files);
  });
}
