/** Structures cut by the edge of the field of view; see segmentation/caveats.py. */

import type { Triple } from "./types.ts";
import type { VolumeRow } from "./volumes.ts";

/** Area on the edge, as a share of the volume to the power of 2/3, above which a structure counts as cut. */
const LEAST_SHARE = 0.05;

/** Names of the labels that reach the edge with more than their outermost voxels; all in the order of the file. */
export function cutStructures(
  labels: Uint8Array, shape: Triple, spacingMm: Triple, rows: readonly Pick<VolumeRow, "index" | "name" | "volumeMm3">[],
): string[] {
  const [nx, ny] = shape;
  const areaMm2 = new Float64Array(256);
  for (const axis of [0, 1, 2]) {
    const [a, b] = [0, 1, 2].filter((other) => other !== axis) as [number, number];
    const area = spacingMm[a]! * spacingMm[b]!;
    const at: Triple = [0, 0, 0];
    for (at[axis] of [0, shape[axis]! - 1]) {
      for (at[a] = 0; at[a]! < shape[a]!; at[a]!++) {
        for (at[b] = 0; at[b]! < shape[b]!; at[b]!++) areaMm2[labels[(at[2] * ny + at[1]) * nx + at[0]]!]! += area;
      }
    }
  }
  return rows.filter(({ index, volumeMm3 }) => index && volumeMm3 > 0 && areaMm2[index]! > LEAST_SHARE * volumeMm3 ** (2 / 3)).map((row) => row.name);
}
