/** Where each level works, and the tiles of a box; see inference/boxes.py and inference/tiling.py. */

import { product, type Box, type Card, type Span, type Triple } from "./types.ts";

export function shapeOf(box: Box): Triple {
  return box.map(([start, stop]) => stop - start) as Triple;
}

export function whole(shape: Triple): Box {
  return shape.map((n) => [0, n]) as Box;
}

/** A box widened to a level's alignment and clipped to its padded volume of at least `shape` voxels. */
export function aligned(box: Box, align: number, shape: Triple): Box {
  return box.map(([start, stop], axis) => {
    const n = Math.ceil(shape[axis]! / align) * align;
    return [Math.max(0, Math.floor(start / align) * align), Math.min(n, Math.ceil(stop / align) * align)] as Span;
  }) as Box;
}

/** The box of each level's grid around a box of the coarsest one; all lists are coarsest first. */
export function boxesAround(brain: Box, card: Card, shapes: Triple[], voxelsMm: number[]): Box[] {
  const { margin_mm: least, doubling_halo: doubling } = card.boxes;
  const boxes: Box[] = [brain];
  let marginMm = 0;
  for (let p = shapes.length - 1; p >= 1; p--) {
    const voxel = voxelsMm[p]!;
    marginMm = Math.max(least, card.levels[p]!.radius * voxel, marginMm + doubling * voxel);
    const margin = Math.ceil(marginMm / voxel);
    const grown = brain.map(([start, stop]) => [start * 2 ** p - margin, stop * 2 ** p + margin]) as Box;
    boxes.splice(1, 0, aligned(grown, card.levels[p]!.alignment, shapes[p]!));
  }
  return boxes;
}

export interface Tile {
  /** The voxels that this tile answers for. */
  core: Box;
  /** The core and its halo, clipped to the box. */
  read: Box;
}

/** Tiles of which none reads more than `mostVoxels`, if that can be; their cores cover the box once. */
export function tiles(box: Box, halo: number, align: number, mostVoxels: number): Tile[] {
  const parts: Triple = [1, 1, 1];
  const sizes = shapeOf(box);
  const core = (axis: number): number => Math.ceil(sizes[axis]! / (parts[axis]! * align)) * align;
  const readVoxels = (): number => product(sizes.map((size, axis) => Math.min(core(axis) + 2 * halo, size)));
  while (readVoxels() > mostVoxels) {
    const axis = [0, 1, 2].reduce((best, other) => (core(other) > core(best) ? other : best), 0);
    if (core(axis) <= align) break;
    parts[axis]!++;
  }
  const edges = box.map(([start, stop], axis) => {
    const step = core(axis);
    const spans: Span[] = [];
    for (let a = start; a < stop; a += step) spans.push([a, Math.min(a + step, stop)]);
    return spans;
  }) as [Span[], Span[], Span[]];
  const read = (span: Span, axis: number): Span => [
    Math.max(span[0] - halo, box[axis]![0]),
    Math.min(span[1] + halo, box[axis]![1]),
  ];
  return edges[0].flatMap((x) =>
    edges[1].flatMap((y) => edges[2].map((z) => ({ core: [x, y, z] as Box, read: [read(x, 0), read(y, 1), read(z, 2)] as Box }))),
  );
}
