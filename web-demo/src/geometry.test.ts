import { describe, expect, it } from "vitest";
import {
  formatClock,
  formatCount,
  formatDistance,
  formatLatLng,
  greatCircle,
  nearestCopy,
  headingDifference,
  wrapHeading,
  wrapLng,
} from "./geometry";

describe("angles", () => {
  it("wraps longitudes to [-180, 180)", () => {
    expect([0, 179.5, 180, -180, 190, 540, -541, 725].map(wrapLng)).toEqual([0, 179.5, -180, -180, -170, -180, 179, 5]);
  });

  it("wraps headings to [0, 360)", () => {
    expect([0, 360, -90, 725, -1e-20].map(wrapHeading)).toEqual([0, 0, 270, 5, 0]);
  });

  it("computes the smaller difference of headings", () => {
    expect(headingDifference(350, 10)).toBe(20);
    expect(headingDifference(10, 350)).toBe(-20);
  });
});

describe("places", () => {
  it("finds the nearest copy on a repeating map", () => {
    expect(nearestCopy({ lat: 1, lng: -170 }, { lat: 0, lng: 175 })).toEqual({ lat: 1, lng: 190 });
    expect(nearestCopy({ lat: 1, lng: 10 }, { lat: 0, lng: 725 })).toEqual({ lat: 1, lng: 730 });
  });

  it("does not split great circles at the date line", () => {
    const line = greatCircle({ lat: 35, lng: 140 }, { lat: 37, lng: -122 });
    expect(line).toHaveLength(65);
    expect(line.at(-1)!.lat).toBeCloseTo(37);
    expect(line.at(-1)!.lng).toBeCloseTo(238);
    expect(Math.max(...line.map((place) => place.lat))).toBeGreaterThan(46);
    for (let i = 1; i < line.length; i++) expect(Math.abs(line[i]!.lng - line[i - 1]!.lng)).toBeLessThan(5);
  });

  it("connects equal places and antipodes with a straight line", () => {
    expect(greatCircle({ lat: 1, lng: 2 }, { lat: 1, lng: 2 })).toHaveLength(2);
    expect(greatCircle({ lat: 0, lng: 0 }, { lat: 0, lng: 180 })).toHaveLength(2);
  });
});

describe("formatting", () => {
  it("formats distances", () => {
    expect([0, 180.4, 3849, 99_940, 394_514.7, 12_345_678].map(formatDistance)).toEqual([
      "0 m",
      "180 m",
      "3.8 km",
      "99.9 km",
      "395 km",
      "12,346 km",
    ]);
  });

  it("formats counts, coordinates and times", () => {
    expect(formatCount(14203)).toBe("14,203");
    expect(formatLatLng({ lat: 45.76, lng: -4.8312345 })).toBe("45.76000, -4.83123");
    expect([65, 5, 0.2, -1].map(formatClock)).toEqual(["1:05", "0:05", "0:01", "0:00"]);
  });
});
