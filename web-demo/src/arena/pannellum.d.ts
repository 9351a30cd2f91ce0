// Types for the part of Pannellum 2.5.7 that the arena uses. The script defines a global.

declare module "pannellum/build/pannellum.js";

interface PannellumViewer {
  getYaw(): number;
  getPitch(): number;
  getHfov(): number;
  setYaw(yaw: number, animated: boolean): PannellumViewer;
  setPitch(pitch: number, animated: boolean): PannellumViewer;
  setHfov(hfov: number, animated: boolean): PannellumViewer;
  resize(): void;
  on(event: "load", listener: () => void): PannellumViewer;
  on(event: "error", listener: (message: string) => void): PannellumViewer;
  destroy(): void;
}

interface Window {
  pannellum: { viewer(container: HTMLElement, config: Record<string, unknown>): PannellumViewer };
}
