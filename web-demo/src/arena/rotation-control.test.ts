import { describe, expect, it } from "vitest";
import { TAP_STEP, RotationControl } from "./rotation-control";

const FRAME_MS = 1000 / 60;

/** Runs frames from `from` to `to` (milliseconds). */
function run(rotation: RotationControl, from: number, to: number) {
  let angles = rotation.step(from, 0);
  for (let time = from; time < to; time += FRAME_MS) angles = rotation.step(time + FRAME_MS, FRAME_MS);
  return angles;
}

describe("RotationControl", () => {
  it("turns by exact steps on key taps", () => {
    const rotation = new RotationControl({ yaw: 0, pitch: 0 });
    for (let i = 0; i < 6; i++) {
      rotation.keyDown("d", "yaw", 1, i);
      rotation.keyUp("d");
    }
    expect(run(rotation, 6, 300).yaw).toBe(6 * TAP_STEP);
    expect(rotation.isMoving).toBe(false);
  });

  it("ignores keyboard repeats", () => {
    const rotation = new RotationControl({ yaw: 0, pitch: 0 });
    for (let time = 0; time < 90; time += 30) rotation.keyDown("a", "yaw", -1, time);
    rotation.keyUp("a");
    expect(run(rotation, 90, 400).yaw).toBe(-TAP_STEP);
  });

  it("turns while a key is held and stops within 0.3 s after its release", () => {
    const rotation = new RotationControl({ yaw: 0, pitch: 0 });
    rotation.keyDown("d", "yaw", 1, 0);
    run(rotation, 0, 1250);
    rotation.keyUp("d");
    const angles = run(rotation, 1250, 1550);
    expect(angles.yaw).toBeGreaterThan(100);
    expect(angles.yaw).toBeLessThan(110);
    expect(rotation.isMoving).toBe(false);
  });

  it("adopts angles set by the mouse", () => {
    const rotation = new RotationControl({ yaw: 0, pitch: 0 });
    rotation.keyDown("d", "yaw", 1, 0);
    rotation.keyUp("d");
    rotation.setAngles({ yaw: 42, pitch: 7 });
    expect(run(rotation, 0, 300)).toEqual({ yaw: 42, pitch: 7 });
  });

  it("limits the pitch to the zenith", () => {
    const rotation = new RotationControl({ yaw: 0, pitch: 80 });
    rotation.keyDown("w", "pitch", 1, 0);
    rotation.keyUp("w");
    expect(run(rotation, 0, 400).pitch).toBe(90);
  });
});
