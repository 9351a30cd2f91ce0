// Photos: gallery, file picker and drag and drop.

import { el } from "../dom";
import { icon } from "./icons";

/** A photo with an object URL to display it. */
export interface PhotoView {
  blob: Blob;
  url: string;
}

export function createView(blob: Blob): PhotoView {
  return { blob, url: URL.createObjectURL(blob) };
}

/** Releases the object URLs of photos that are no longer shown. */
export function revokeViews(views: PhotoView[]): void {
  for (const { url } of views) URL.revokeObjectURL(url);
}

/** Shows one photo large, with a row of thumbnails if there are several. */
export function gallery(views: PhotoView[], label: string): HTMLElement {
  const large = el("img", { class: "photo", decoding: "async" });
  // A blurred copy fills the space around the photo.
  const backdrop = el("img", { class: "photo-backdrop", alt: "", decoding: "async" });
  const show = (index: number) => {
    const view = views[index];
    if (!view) return;
    large.src = backdrop.src = view.url;
    large.alt = views.length > 1 ? `${label}, view ${index + 1} of ${views.length}` : label;
    thumbs.forEach((thumb, i) => thumb.setAttribute("aria-pressed", String(i === index)));
  };
  const thumbs = views.map(({ url }, i) =>
    el(
      "button",
      { type: "button", class: "thumb", "aria-label": `View ${i + 1}`, click: () => show(i) },
      el("img", { src: url, alt: "" }),
    ),
  );
  show(views.length - 1);
  return el(
    "div",
    { class: "gallery" },
    backdrop,
    large,
    views.length > 1 && el("div", { class: "thumbs", role: "group", "aria-label": "Views" }, ...thumbs),
  );
}

/** A button that opens the file picker. */
export function photoPicker(label: string, onPick: (files: File[]) => void, primary = false): HTMLElement {
  const input = el("input", {
    type: "file",
    accept: "image/*",
    multiple: true,
    class: "visually-hidden",
    change: () => {
      onPick([...(input.files ?? [])]);
      // Allow choosing the same photo again.
      input.value = "";
    },
  });
  return el("label", { class: primary ? "button button-main" : "button" }, icon("photo"), label, input);
}

/** Calls `onFiles` with files that are dropped anywhere on the page. */
export function onDrop(onFiles: (files: File[]) => void): void {
  const setDropping = (on: boolean) => document.body.toggleAttribute("data-dropping", on);
  addEventListener("dragover", (event) => {
    event.preventDefault();
    setDropping(true);
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) setDropping(false);
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    setDropping(false);
    const files = [...(event.dataTransfer?.files ?? [])];
    if (files.length) onFiles(files);
  });
}
