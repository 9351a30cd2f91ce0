// A page with only the engine, for tests that drive it from outside.
import { createEngine, EngineError } from "..";

Object.assign(globalThis, { createEngine, EngineError });
