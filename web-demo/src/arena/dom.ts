// The arena's elements: they carry what the page's structure has.

import { el as element, type Attributes, type Child } from "../dom";
import { carried } from "./structure";

/** An element as `el` of ../dom builds it; of the attributes it carries what the page's structure has. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const kept = Object.entries(attributes).map(([name, value]) => {
    return [name, typeof value === "string" ? (carried(name, value) ?? undefined) : value] as const;
  });
  return element(tag, Object.fromEntries(kept), ...children);
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
