import { describe, expect, it } from "vitest";
import { attributeFor, LIVE_NAMES } from "./structure";

describe("page structures", () => {
  it("keeps all attributes in plain", () => {
    expect(attributeFor("plain", "data-lat", "45.7")).toBe("45.7");
    expect(attributeFor("plain", "data-qa", "final-score")).toBe("final-score");
  });

  it("removes the arena's own attributes in live", () => {
    for (const name of ["data-lat", "data-lng", "data-points", "data-heading", "data-metres", "data-state"]) {
      expect(attributeFor("live", name, "1")).toBeNull();
    }
    expect(attributeFor("live", "data-qa", "final-score")).toBeNull();
    expect(attributeFor("live", "data-qa", "perform-guess")).toBe("perform-guess");
    expect(attributeFor("live", "class", "guess-map_canvas__cvpqv map")).toBe("guess-map_canvas__cvpqv map");
    expect(attributeFor("live", "aria-label", "x")).toBe("x");
  });

  it("ages deterministically", () => {
    const left = LIVE_NAMES.filter((name) => attributeFor("aged", "data-qa", name) !== null);
    expect(left).toHaveLength(Math.floor(LIVE_NAMES.length / 2));
    expect([...LIVE_NAMES].sort()).toEqual(LIVE_NAMES);
    for (const name of ["panorama", "guess-map", "perform-guess", "close-round-result"])
      expect(left).not.toContain(name);
    const aged = attributeFor("aged", "class", "button_button__aR6_e guess-map_canvas__cvpqv map");
    expect(aged).toMatch(/^button_button__\w{5} guess-map_canvas__\w{5} map$/);
    expect(aged).not.toContain("aR6_e");
    expect(aged).not.toContain("cvpqv");
    expect(attributeFor("aged", "class", "guess-map_canvas__cvpqv")).toBe(aged!.split(" ")[1]);
  });
});
