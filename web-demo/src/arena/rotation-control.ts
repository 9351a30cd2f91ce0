// Keyboard rotation: a tap turns by a fixed step, a held key turns continuously. The view reaches its target within a
// quarter of a second after the last key.

/** Degrees per tap. */
export const TAP_STEP = 15;
/** A key held longer than this turns continuously, in milliseconds. */
const HOLD_DELAY_MS = 250;
/** Degrees per second while a key is held. */
const HOLD_SPEED = 90;
/** Time constant of the exponential approach to the target, in milliseconds. */
const EASE_MS = 35;
/** Below this distance the view snaps to the target, in degrees. */
const SNAP_DISTANCE = 0.05;

export interface Angles {
  yaw: number;
  pitch: number;
}

type Axis = keyof Angles;

/** Converts key events to angles. The caller passes the time, for tests without a clock. */
export class RotationControl {
  private readonly target: Angles;
  private readonly held = new Map<string, { axis: Axis; sign: number; since: number }>();

  constructor(private readonly current: Angles) {
    this.target = { ...current };
  }

  /** Handles a pressed key; keyboard repeats are ignored. */
  keyDown(key: string, axis: Axis, sign: number, time: number): void {
    if (this.held.has(key)) return;
    this.held.set(key, { axis, sign, since: time });
    this.target[axis] += sign * TAP_STEP;
  }

  keyUp(key: string): void {
    this.held.delete(key);
  }

  releaseAllKeys(): void {
    this.held.clear();
  }

  /** Sets the target. The yaw is not wrapped. */
  turnTo(target: Angles): void {
    Object.assign(this.target, target);
  }

  /** Adopts angles set by other means, such as the mouse. */
  setAngles(current: Angles): void {
    Object.assign(this.current, current);
    Object.assign(this.target, current);
  }

  get isMoving(): boolean {
    return this.held.size > 0 || this.current.yaw !== this.target.yaw || this.current.pitch !== this.target.pitch;
  }

  /** Advances to `time`, `elapsed` milliseconds after the last step, and returns the angles. */
  step(time: number, elapsed: number): Angles {
    for (const { axis, sign, since } of this.held.values()) {
      const heldFor = Math.min(elapsed, time - since - HOLD_DELAY_MS);
      if (heldFor > 0) this.target[axis] += (sign * HOLD_SPEED * heldFor) / 1000;
    }
    this.target.pitch = Math.max(-90, Math.min(90, this.target.pitch));
    const fraction = 1 - Math.exp(-elapsed / EASE_MS);
    for (const axis of ["yaw", "pitch"] as const) {
      const remaining = this.target[axis] - this.current[axis];
      this.current[axis] =
        Math.abs(remaining) < SNAP_DISTANCE ? this.target[axis] : this.current[axis] + remaining * fraction;
    }
    return { ...this.current };
  }
}
