import { describe, expect, it } from "vitest";
import { attributeIn, LIVE_NAMES } from "./structure";

describe("structures", () => {
  it("leaves the arena's own page as it is", () => {
    expect(attributeIn("plain", "data-lat", "45.7")).toBe("45.7");
    expect(attributeIn("plain", "data-qa", "final-score")).toBe("final-score");
  });

  it("takes the arena's helps from the live page", () => {
    for (const name of ["data-lat", "data-lng", "data-points", "data-heading", "data-metres", "data-state"]) {
      expect(attributeIn("live", name, "1")).toBeNull();
    }
    expect(attributeIn("live", "data-qa", "final-score")).toBeNull();
    expect(attributeIn("live", "data-qa", "perform-guess")).toBe("perform-guess");
    expect(attributeIn("live", "class", "guess-map_canvas__cvpqv map")).toBe("guess-map_canvas__cvpqv map");
    expect(attributeIn("live", "aria-label", "x")).toBe("x");
  });

  it("ages by the same rule each time", () => {
    const left = LIVE_NAMES.filter((name) => attributeIn("aged", "data-qa", name) !== null);
    expect(left).toHaveLength(Math.floor(LIVE_NAMES.length / 2));
    expect([...LIVE_NAMES].sort()).toEqual(LIVE_NAMES);
    for (const name of ["panorama", "guess-map", "perform-guess", "close-round-result"]) expect(left).not.toContain(name);
    const aged = attributeIn("aged", "class", "button_button__aR6_e guess-map_canvas__cvpqv map");
    expect(aged).toMatch(/^button_button__\w{5} guess-map_canvas__\w{5} map$/);
    expect(aged).not.toContain("aR6_e");
    expect(aged).not.toContain("cvpqv");
    expect(attributeIn("aged", "class", "guess-map_canvas__cvpqv")).toBe(aged!.split(" ")[1]);
  });
});
