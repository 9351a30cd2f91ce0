import { describe, expect, it } from "vitest";
import { Collection, contains, normalise } from "./collection";

const json = {
  bundle: "pocket@1",
  directory: "photos",
  have_location: 0,
  failed: 0,
  writes: { copies: false, sidecars: true },
  undoable: 0,
  dots: [
    [0, 45, 5, 0.9, "open"],
    [1, 46, 6, 0.2, "open"],
    [2, -20, 179, 0.8, "accepted"],
  ] as [number, number, number, number, "open" | "accepted"][],
  paths: ["a.jpg", "b.jpg", "c.jpg"],
};
const EUROPE = { south: 40, west: -10, north: 60, east: 20 };

describe("the collection", () => {
  it("finds the pictures in view that the filter lets through", () => {
    const collection = new Collection(json);
    const ids = (minP: number, onlyOpen: boolean) =>
      collection.within(EUROPE, { minP, onlyOpen }).map(({ id }) => id);
    expect(ids(0, false)).toEqual([0, 1]);
    expect(ids(0.5, true)).toEqual([0]);
    collection.apply({ dots: [[0, 50, 6, 0.9, "corrected"]], undoable: 1 });
    expect(ids(0, true)).toEqual([1]);
    expect([collection.open, collection.undoable, collection.dots[0]!.lat]).toEqual([1, 1, 50]);
  });

  it("handles views over the date line and of more than one world", () => {
    const pacific = normalise({ south: -40, west: 170, north: 0, east: 200 });
    expect(pacific).toMatchObject({ west: 170, east: -160 });
    expect([179, -170, 0].map((lng) => contains(pacific, { lat: -20, lng }))).toEqual([true, true, false]);
    const worlds = normalise({ south: -90, west: -300, north: 90, east: 300 });
    expect([-180, 0, 180].every((lng) => contains(worlds, { lat: 0, lng }))).toBe(true);
  });
});
