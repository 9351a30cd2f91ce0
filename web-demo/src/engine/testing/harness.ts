// The engine alone on a page, for tests that drive it from outside.
import { createEngine, EngineError } from "..";

Object.assign(globalThis, { createEngine, EngineError });
