// One helper to build elements.

import { carried } from "./structure";

type Attributes = Record<string, string | boolean | ((event: Event) => void) | undefined>;
type Child = Node | string | null | false;

/**
 * An element with attributes (functions become listeners, `true` an empty attribute) and children. Of the attributes it
 * carries what the page's structure has.
 */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (typeof value === "string") set(element, name, value);
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

/** Gives an element an attribute, as far as the page's structure has it. */
export function set(element: Element, name: string, value: string): void {
  const carries = carried(name, value);
  if (carries !== null) element.setAttribute(name, carries);
}

/** The pin, tip at the bottom centre of its box. */
export function pinSvg(symbol: "dot" | "flag"): string {
  const inner =
    symbol === "dot"
      ? '<circle cx="16" cy="15" r="5.5" fill="#fff"/>'
      : '<path d="M11.500 22V8.500h10l-2.200 3.500 2.200 3.500h-8V22z" fill="#fff"/>';
  return `<svg viewBox="0 0 32 42" width="32" height="42" aria-hidden="true"><path d="M16 1.500C8 1.500 1.500 7.900 1.500 15.800 1.500 26 16 42 16 42s14.500-16 14.500-26.200C30.500 7.900 24 1.500 16 1.500z" fill="currentColor" stroke="#fff" stroke-width="2"/>${inner}</svg>`;
}
