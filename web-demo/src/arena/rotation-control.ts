// How keys turn the view: a tap turns by a fixed step, a held key turns on until it is let go.
// The view follows its goal within a quarter of a second, so it stands still soon after the last key.

/** Degrees of one tap. */
export const TAP_STEP = 15;
/** A key held longer than this turns on, in milliseconds. */
const HOLD_AFTER_MS = 250;
/** Degrees a second while a key is held. */
const HOLD_SPEED = 90;
/** Time constant of the view's approach to its goal, in milliseconds. */
const EASE_MS = 35;
/** The approach ends this close to the goal, in degrees. */
const NEAR = 0.05;

export interface Angles {
  yaw: number;
  pitch: number;
}

type Axis = keyof Angles;

/** Turns key strokes into angles. The caller gives the time, so this needs no clock. */
export class Turning {
  private readonly goal: Angles;
  private readonly held = new Map<string, { axis: Axis; sign: number; since: number }>();

  constructor(private readonly now: Angles) {
    this.goal = { ...now };
  }

  /** A key goes down; repeats by the keyboard do not count. */
  press(key: string, axis: Axis, sign: number, time: number): void {
    if (this.held.has(key)) return;
    this.held.set(key, { axis, sign, since: time });
    this.goal[axis] += sign * TAP_STEP;
  }

  release(key: string): void {
    this.held.delete(key);
  }

  releaseAll(): void {
    this.held.clear();
  }

  /** Turns to these angles, without bounds on the yaw. */
  turnTo(goal: Angles): void {
    Object.assign(this.goal, goal);
  }

  /** Someone else (the mouse) has turned the view. */
  moved(now: Angles): void {
    Object.assign(this.now, now);
    Object.assign(this.goal, now);
  }

  get moving(): boolean {
    return this.held.size > 0 || this.now.yaw !== this.goal.yaw || this.now.pitch !== this.goal.pitch;
  }

  /** The angles at `time`, `elapsed` milliseconds after the last step. */
  step(time: number, elapsed: number): Angles {
    for (const { axis, sign, since } of this.held.values()) {
      const heldFor = Math.min(elapsed, time - since - HOLD_AFTER_MS);
      if (heldFor > 0) this.goal[axis] += (sign * HOLD_SPEED * heldFor) / 1000;
    }
    this.goal.pitch = Math.max(-90, Math.min(90, this.goal.pitch));
    const share = 1 - Math.exp(-elapsed / EASE_MS);
    for (const axis of ["yaw", "pitch"] as const) {
      const left = this.goal[axis] - this.now[axis];
      this.now[axis] = Math.abs(left) < NEAR ? this.goal[axis] : this.now[axis] + left * share;
    }
    return { ...this.now };
  }
}
