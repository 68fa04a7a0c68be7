/** From a read scan to everything that the page shows: labels in the scan's order, volumes, centres, the record. */

import { cutStructures } from "./edges.ts";
import type { Scan } from "./images.ts";
import { runLadder, type RunLevel, type Settings } from "./ladder.ts";
import { shownMm3 } from "./normalise.ts";
import { closestRas, determinant, fromRas, spacing, toRas } from "./orientation.ts";
import { UserError, type Card, type Triple } from "./types.ts";
import { addCaveat, volumes, type VolumeRow } from "./volumes.ts";

export interface Segmentation {
  /** FreeSurfer's numbers, in the order of the file. */
  labels: Uint8Array;
  rows: VolumeRow[];
  notes: string[];
  /** For each label, a voxel of it near its centre, in millimetres; to jump to. */
  places: Record<number, Triple>;
  voxelMm3: number;
}

export async function segment(scan: Scan, card: Card, run: RunLevel, settings: Settings): Promise<Segmentation> {
  const turn = closestRas(scan.affine);
  const ras = toRas(scan.data, scan.shape, turn);
  const sides = spacing(scan.affine);
  const voxelMm3 = Math.abs(determinant(scan.affine.slice(0, 3)));
  const shown = shownMm3(ras, voxelMm3);
  const found = await runLadder(ras, turn.axes.map((old) => sides[old]!) as Triple, card, run, settings);
  const counts = new Float64Array(card.labels.length);
  for (const c of found.classes.data) counts[c]!++;
  if (counts[0] === found.classes.data.length) throw new UserError("No brain was found in the scan", "Is it a T1-weighted scan of a head?");
  const rows = volumes(card, found.level, counts, found.soft, found.variance, voxelMm3);
  const caveat = addCaveat(rows, shown, card);
  const table = Uint8Array.from(card.labels, (label) => label.index);
  const indices = found.classes.data.map((c) => table[c]!);
  const labels = fromRas({ data: indices, shape: found.classes.shape }, scan.shape, turn);
  const notes = [...scan.notes, ...found.notes, ...(caveat ? [caveat] : [])];
  const cut = cutStructures(labels, scan.shape, sides, rows);
  if (cut.length) notes.push(`At the edge of the field of view and perhaps cut, so too small: ${cut.join(", ")}.`);
  return { labels, rows, notes, places: placesOf(labels, scan), voxelMm3 };
}

/** Of each label the voxel in the middle of its list, as the mean of a curved structure may lie outside of it. */
function placesOf(labels: Uint8Array, scan: Scan): Record<number, Triple> {
  const counts = new Uint32Array(256);
  for (const index of labels) counts[index]!++;
  const seen = new Uint32Array(256);
  const [nx, ny] = scan.shape;
  const places: Record<number, Triple> = {};
  for (let i = 0; i < labels.length; i++) {
    const index = labels[i]!;
    if (!index || ++seen[index]! !== Math.ceil(counts[index]! / 2)) continue;
    const at = [i % nx, Math.floor(i / nx) % ny, Math.floor(i / (nx * ny))];
    places[index] = [0, 1, 2].map((r) => scan.affine[r]!.slice(0, 3).reduce((sum, v, c) => sum + v * at[c]!, scan.affine[r]![3]!)) as Triple;
  }
  return places;
}
