/** Memory of a segmentation in the browser, planned before it begins; see inference/budget.py. */

import { aligned, boxesAround, shapeOf, tiles } from "./boxes.ts";
import { lastLevel, voxelMm, workingGrid } from "./pyramid.ts";
import { product, UserError, type Box, type Card, type LevelRow, type Triple } from "./types.ts";

/** More makes tiles no faster. */
const MOST_TILE_BYTES = 1.5e9;
const LEAST_TILE_BYTES = 2e7;
/** Share of the memory reported by the browser that one tile may take, and the memory assumed if it reports none. */
const TILE_SHARE = 0.2;
const UNTOLD_BYTES = 4e9;
/** What WebAssembly can address. */
const ADDRESSABLE_BYTES = 2 ** 32;
/** The page with model and viewer before a scan comes, and ONNX Runtime: measured. */
const BASE_BYTES = 350e6;
/** Arrays of the scan's size in float32: as stored, in RAS order, the file for the viewer and the viewer's two. */
const SCAN_COPIES = 5;
/** Box of the largest brain that is expected, in RAS order; as on the command line. */
const LARGEST_BRAIN_MM: Triple = [170, 200, 180];

export interface Limits {
  /** Memory that the browser reports, in bytes; null if it reports none. */
  memoryBytes: number | null;
  /** Bytes of the largest tensor that the device takes. */
  tensorBytes: number;
}

export interface Plan {
  /** What one tile may take. */
  tileBytes: number;
  tensorBytes: number;
  /** At the peak, of the whole tab. */
  peakBytes: number;
  /** Of it, in WebAssembly. */
  wasmBytes: number;
}

/** The plan with the largest tiles that fit. Throws where none fit. */
export function planned(card: Card, shape: Triple, spacingMm: Triple, { memoryBytes, tensorBytes }: Limits): Plan {
  let tileBytes = Math.min(MOST_TILE_BYTES, TILE_SHARE * (memoryBytes ?? UNTOLD_BYTES));
  const allowed = memoryBytes ?? Infinity;
  for (;;) {
    const plan = planOf(card, shape, spacingMm, tileBytes, tensorBytes);
    if (plan.peakBytes <= allowed && plan.wasmBytes <= ADDRESSABLE_BYTES) return plan;
    if (tileBytes <= LEAST_TILE_BYTES) throw refusal(plan, allowed);
    tileBytes /= 2;
  }
}

function refusal({ peakBytes, wasmBytes }: Plan, allowed: number): UserError {
  const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;
  const what =
    peakBytes > allowed
      ? `The scan needs about ${gb(peakBytes)} of memory, the browser reports ${gb(allowed)}`
      : `The scan needs about ${gb(wasmBytes)} in WebAssembly, which can address ${gb(ADDRESSABLE_BYTES)}`;
  return new UserError(what, "Use a computer with more memory, or the command line there (lodbrain segment), which needs less");
}

/** Memory with tiles of a size, for the largest brain that is expected. */
export function planOf(card: Card, scanShape: Triple, spacingMm: Triple, tileBytes: number, tensorBytes = Infinity): Plan {
  const grid = workingGrid(scanShape, spacingMm, card);
  const last = lastLevel(card, voxelMm(grid));
  const shapes: Triple[] = [grid.shape];
  for (let p = 0; p < last; p++) shapes.unshift(shapes[0]!.map((n) => Math.ceil(n / 2)) as Triple);
  const voxels = shapes.map((_, p) => voxelMm(grid) * 2 ** (last - p));
  const brain = largestBrain(shapes[0]!, voxels[0]!);
  const boxes = boxesAround(brain, card, shapes, voxels);
  const scan = product(scanShape);
  const coarse = shapes.slice(0, last).reduce((sum, shape) => sum + product(shape), 0);
  const standing = 4 * (SCAN_COPIES * scan + coarse + (grid.native ? 0 : 2 * product(grid.shape)));

  const head = product(aligned(shapes[0]!.map((n) => [0, n]) as Box, card.levels[0]!.stride, shapes[0]!).map(([a, b]) => b - a));
  let wasm = head * wasmBytesPerVoxel(card.levels[0]!);
  let above = 4 * outputsOf(card.levels[0]!) * head;
  let most = standing + above + wasm;
  for (let p = 1; p <= last; p++) {
    const level = card.levels[p]!;
    const box = product(shapeOf(boxes[p]!));
    const cut = tiles(boxes[p]!, level.halo, level.alignment, tileVoxels(level, boxes[p]!, { tileBytes, tensorBytes }));
    const read = Math.max(...cut.map((tile) => product(shapeOf(tile.read))));
    // classes; logits and side of the box where they are interpolated later; results for a next level
    const kept = p < last ? 4 * outputsOf(level) * box : scan + (grid.native ? 0 : 4 * scoresOf(level) * box);
    const told = (4 * outputsOf(card.levels[p - 1]!) * read) / 8;
    wasm = Math.max(wasm, read * wasmBytesPerVoxel(level) + told);
    most = Math.max(most, standing + above + kept + told + 4 * (1 + outputsOf(level)) * read + wasm);
    above = kept;
  }
  return { tileBytes, tensorBytes, wasmBytes: wasm, peakBytes: BASE_BYTES + most };
}

/** The expected box in the middle of the coarsest grid. */
function largestBrain(shape: Triple, mm: number): Box {
  return shape.map((n, axis) => {
    const side = Math.min(n, Math.ceil(LARGEST_BRAIN_MM[axis]! / mm));
    const start = Math.floor((n - side) / 2);
    return [start, start + side];
  }) as Box;
}

/** What a tile of a level may read within a plan, and no less than four halos a side. */
export function tileVoxels(level: LevelRow, box: Box, { tileBytes, tensorBytes }: Pick<Plan, "tileBytes" | "tensorBytes">): number {
  const least = product(shapeOf(box).map((n) => Math.min(n, 4 * level.halo)));
  const widest = Math.max(level.channels[0]! / level.block ** 3, ...Object.values(level.outputs));
  // the outputs exist twice: inside of WebAssembly, and as JavaScript's arrays
  const bytes = wasmBytesPerVoxel(level) + 4 * outputsOf(level);
  return Math.max(least, Math.floor(Math.min(tileBytes / bytes, tensorBytes / (4 * widest))));
}

/** Bytes that a voxel of a tile takes in WebAssembly: five tensors of the level's channels while a convolution runs, and the outputs. */
function wasmBytesPerVoxel(level: LevelRow): number {
  return 4 * ((5 * level.channels[0]!) / level.block ** 3 + outputsOf(level));
}

/** Numbers that a level returns for each voxel. */
function outputsOf(level: LevelRow): number {
  return Object.values(level.outputs).reduce((a, b) => a + b, 0);
}

/** Of them, those that the last level's decisions need. */
function scoresOf(level: LevelRow): number {
  return outputsOf(level) - (level.outputs["features"] ?? 0);
}
