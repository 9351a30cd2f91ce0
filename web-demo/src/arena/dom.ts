// Creates DOM elements with the attributes that the page structure has (see structure.ts).

import { el as element, type Attributes, type Child } from "../dom";
import { attributeValue } from "./structure";

/** Like `el` of ../dom, but with attributes filtered by the page structure. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const filtered = Object.entries(attributes).map(([name, value]) => {
    return [name, typeof value === "string" ? (attributeValue(name, value) ?? undefined) : value] as const;
  });
  return element(tag, Object.fromEntries(filtered), ...children);
}

/** Sets an attribute, unless the page structure omits it. */
export function set(element: Element, name: string, value: string): void {
  const attribute = attributeValue(name, value);
  if (attribute !== null) element.setAttribute(name, attribute);
}

/** A pin as SVG. Its tip is at the bottom centre. */
export function pinSvg(symbol: "dot" | "flag"): string {
  const inner =
    symbol === "dot"
      ? '<circle cx="16" cy="15" r="5.5" fill="#fff"/>'
      : '<path d="M11.500 22V8.500h10l-2.200 3.500 2.200 3.500h-8V22z" fill="#fff"/>';
  return `<svg viewBox="0 0 32 42" width="32" height="42" aria-hidden="true"><path d="M16 1.500C8 1.500 1.500 7.900 1.500 15.800 1.500 26 16 42 16 42s14.500-16 14.500-26.200C30.500 7.900 24 1.500 16 1.500z" fill="currentColor" stroke="#fff" stroke-width="2"/>${inner}</svg>`;
}
