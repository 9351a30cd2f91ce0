// Client of the server of `landfall review`.

import type { LatLng } from "../geometry";

export type Status = "open" | "accepted" | "corrected";

/** Number, latitude, longitude, probability of the answer's circle, and status of a picture. */
export type DotJson = [id: number, lat: number, lng: number, p: number, status: Status];

export interface ReviewJson {
  bundle: string;
  directory: string | null;
  have_location: number;
  failed: number;
  writes: { copies: boolean; sidecars: boolean };
  undoable: number;
  dots: DotJson[];
  paths: string[];
}

export interface Details extends LatLng {
  id: number;
  path: string;
  same_as: string | null;
  p: number;
  circle_km: number;
  place: string;
  given?: { hints: string[]; p: number };
  confirmed: (LatLng & { is_corrected: boolean }) | null;
  status: Status;
}

export interface Changes {
  dots: DotJson[];
  undoable: number;
}

export interface Written {
  summary: {
    is_dry_run: boolean;
    copies: number;
    sidecars: number;
    have_location: number;
    foreign_sidecars: number;
    failed: number;
  };
  problems: string[];
  more_problems: number;
}

/** Degrees; over the date line if `west` is greater than `east`. */
export interface Bounds {
  south: number;
  west: number;
  north: number;
  east: number;
}

async function request<T>(path: string, body?: object): Promise<T> {
  const options =
    body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const response = await fetch(path, options).catch(() => {
    throw new Error("landfall review does not answer any more: start it again and reload this page");
  });
  const json: unknown = await response.json().catch(() => null);
  if (response.ok) return json as T;
  throw new Error((json as { message?: string } | null)?.message ?? `the server answered ${response.status}`);
}

export const readReview = () => request<ReviewJson>("/api/review");
export const readDetails = (id: number) => request<Details>(`/api/pictures/${id}`);
export const accept = (ids: number[]) => request<Changes>("/api/accept", { ids });
export const acceptAll = (bounds: Bounds, minP: number) =>
  request<Changes>("/api/accept", { bounds, min_p: minP });
export const correct = (id: number, { lat, lng }: LatLng) => request<Changes>("/api/correct", { id, lat, lng });
export const undo = () => request<Changes>("/api/undo", {});
export const write = (dryRun: boolean) => request<Written>("/api/write", { dry_run: dryRun });
