import { describe, expect, it } from "vitest";
import { TAP_STEP, Turning } from "./rotation-control";

const FRAME_MS = 1000 / 60;

/** Runs frames from `from` to `to` (milliseconds). */
function run(turning: Turning, from: number, to: number) {
  let angles = turning.step(from, 0);
  for (let time = from; time < to; time += FRAME_MS) angles = turning.step(time + FRAME_MS, FRAME_MS);
  return angles;
}

describe("Turning", () => {
  it("turns by exact steps when keys are tapped", () => {
    const turning = new Turning({ yaw: 0, pitch: 0 });
    for (let i = 0; i < 6; i++) {
      turning.press("d", "yaw", 1, i);
      turning.release("d");
    }
    expect(run(turning, 6, 300).yaw).toBe(6 * TAP_STEP);
    expect(turning.moving).toBe(false);
  });

  it("ignores the keyboard's own repeats", () => {
    const turning = new Turning({ yaw: 0, pitch: 0 });
    for (let time = 0; time < 90; time += 30) turning.press("a", "yaw", -1, time);
    turning.release("a");
    expect(run(turning, 90, 400).yaw).toBe(-TAP_STEP);
  });

  it("turns on while a key is held and stands 0.3 s after it is let go", () => {
    const turning = new Turning({ yaw: 0, pitch: 0 });
    turning.press("d", "yaw", 1, 0);
    run(turning, 0, 1250);
    turning.release("d");
    const angles = run(turning, 1250, 1550);
    expect(angles.yaw).toBeGreaterThan(100);
    expect(angles.yaw).toBeLessThan(110);
    expect(turning.moving).toBe(false);
  });

  it("is turned by the mouse without springing back", () => {
    const turning = new Turning({ yaw: 0, pitch: 0 });
    turning.press("d", "yaw", 1, 0);
    turning.release("d");
    turning.moved({ yaw: 42, pitch: 7 });
    expect(run(turning, 0, 300)).toEqual({ yaw: 42, pitch: 7 });
  });

  it("does not look over the zenith", () => {
    const turning = new Turning({ yaw: 0, pitch: 80 });
    turning.press("w", "pitch", 1, 0);
    turning.release("w");
    expect(run(turning, 0, 400).pitch).toBe(90);
  });
});
