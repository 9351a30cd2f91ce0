// The dialog that says what would be written, and writes it.

import { el } from "../dom";
import { formatCount } from "../geometry";
import { write, type ReviewJson, type Written } from "./api";
import type { Collection } from "./collection";

const counted = (n: number, one: string, many: string) => `${formatCount(n)} ${n === 1 ? one : many}`;

/** Shows what would be written. Resolves when the dialog is shown. */
export async function askToWrite(root: HTMLElement, collection: Collection, review: ReviewJson): Promise<void> {
  const dialog = el("dialog", { class: "dialog", "aria-labelledby": "write-title" });
  const close = el("button", { type: "button", class: "button", click: () => dialog.close() }, "Close");
  const body = el("div", { role: "status" });
  dialog.append(el("h2", { id: "write-title" }, "Write confirmed locations"), body, el("div", { class: "toolbar" }, close));
  dialog.addEventListener("close", () => dialog.remove());
  const confirmed = collection.dots.length - collection.open;
  if (!review.writes.copies && !review.writes.sidecars) {
    body.append(
      el(
        "p",
        {},
        "There is nothing to write to: start landfall review with --write-exif DIR, for copies of the pictures, or with " +
          "--sidecar, for XMP files beside them. Your decisions are kept.",
      ),
    );
  } else if (confirmed === 0) {
    body.append(el("p", {}, "No location is confirmed yet."));
  } else {
    body.append(...describe(await write(true)));
    const start = el("button", { type: "button", class: "button primary" }, "Write");
    start.addEventListener("click", () => {
      start.remove();
      body.replaceChildren(el("p", {}, "Writing…"));
      write(false).then(
        (written) => body.replaceChildren(...describe(written)),
        (error: unknown) => body.replaceChildren(el("p", {}, String(error))),
      );
    });
    close.before(start);
  }
  root.append(dialog);
  dialog.showModal();
}

function describe({ summary, problems, more_problems }: Written): HTMLElement[] {
  const parts = [counted(summary.copies, "copy", "copies"), counted(summary.sidecars, "sidecar", "sidecars")];
  const lines = [`${summary.is_dry_run ? "This will write" : "Wrote"} ${parts.join(" and ")}.`];
  if (summary.have_location) lines.push(`${counted(summary.have_location, "picture has", "pictures have")} a position.`);
  if (summary.foreign_sidecars) {
    lines.push(`${counted(summary.foreign_sidecars, "picture has", "pictures have")} a sidecar of another program.`);
  }
  if (summary.failed) lines.push(`${formatCount(summary.failed)} cannot be written:`);
  const more = more_problems ? [`and ${formatCount(more_problems)} more`] : [];
  const items = [...problems, ...more].map((problem) => el("li", {}, problem));
  return [...lines.map((line) => el("p", {}, line)), ...(items.length ? [el("ul", {}, ...items)] : [])];
}
