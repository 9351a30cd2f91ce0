// Entry point of the review.

import "./review.css";
import { el } from "../dom";
import { readReview } from "./api";
import { ReviewPage } from "./review-page";

const root = document.querySelector<HTMLElement>("#app")!;

try {
  new ReviewPage(root, await readReview());
} catch (error) {
  root.replaceChildren(el("p", { class: "failure", role: "alert" }, String(error)));
}
