// A page with only the engine, for tests that drive it from outside.
import { createEngine, EngineError } from "..";
import { OpenedBundle } from "../opened-bundle";

Object.assign(globalThis, { createEngine, EngineError, OpenedBundle });
