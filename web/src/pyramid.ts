/** The grids that the levels see; see inference/pyramid.py. */

import { product, type Card, type Triple, type Volume } from "./types.ts";

export interface Grid {
  shape: Triple;
  spacingMm: Triple;
  /** Whether it is the scan's own. */
  native: boolean;
  note: string;
}

export function voxelMm(grid: Grid): number {
  return Math.cbrt(product(grid.spacingMm));
}

export function workingGrid(shape: Triple, spacingMm: Triple, card: Card): Grid {
  const { largest_ratio: ratio, finest_mm: finest, coarsest_resampled_mm: coarsest } = card.voxels;
  const [small, large] = [Math.min(...spacingMm), Math.max(...spacingMm)];
  const mean = Math.cbrt(product(spacingMm));
  if (large / small <= ratio && mean >= finest) return { shape, spacingMm, native: true, note: "" };
  if (large / small <= ratio) {
    const factor = 2 ** Math.ceil(Math.log2(finest / mean));
    return {
      shape: shape.map((n) => Math.ceil(n / factor)) as Triple,
      spacingMm: spacingMm.map((v) => v * factor) as Triple,
      native: false,
      note: `worked at ${(mean * factor).toFixed(2)} mm, ${factor} times the scan's voxel: finer than the model`,
    };
  }
  const voxel = Math.max(small, Math.min(coarsest, mean), finest);
  return {
    shape: shape.map((n, axis) => Math.max(1, Math.ceil((n * spacingMm[axis]!) / voxel - 0.01))) as Triple,
    spacingMm: [voxel, voxel, voxel],
    native: false,
    note:
      `resampled from ${spacingMm.map((v) => v.toFixed(2)).join(" x ")} mm to ${voxel.toFixed(2)} mm isotropic: ` +
      "sides differ by more than 20%",
  };
}

/** Position of the finest level that a scan of this voxel size uses. */
export function lastLevel(card: Card, mm: number): number {
  const position = card.levels[0]!.exponent - roundHalfEven(Math.log2(mm));
  return Math.min(Math.max(position, 0), card.levels.length - 1);
}

/** As Python rounds. */
function roundHalfEven(value: number): number {
  const down = Math.floor(value);
  if (value - down !== 0.5) return Math.round(value);
  return down % 2 === 0 ? down : down + 1;
}

/** Weights of linear interpolation along one axis: for each voxel, where its weights begin, and the weights. */
export type Weights = { first: number; weights: Float64Array }[];

/** From one axis to another that begins at the same corner; where voxels grow, the triangle widens with them. */
export function interpolation(nTo: number, vTo: number, nFrom: number, vFrom: number): Weights {
  const width = Math.max(1, vTo / vFrom);
  return Array.from({ length: nTo }, (_, i) => {
    const at = Math.min(Math.max((i + 0.5) * (vTo / vFrom) - 0.5, 0), nFrom - 1);
    const first = Math.max(0, Math.floor(at - width) + 1);
    const last = Math.min(nFrom - 1, Math.ceil(at + width) - 1);
    const weights = new Float64Array(last - first + 1);
    let sum = 0;
    for (let k = first; k <= last; k++) sum += weights[k - first] = Math.max(0, 1 - Math.abs(at - k) / width);
    for (let k = 0; k < weights.length; k++) weights[k]! /= sum;
    return { first, weights };
  });
}

/** A volume interpolated along one axis. */
export function interpolateAxis(volume: Volume, axis: 0 | 1 | 2, weights: Weights): Volume {
  const shape = [...volume.shape] as Triple;
  shape[axis] = weights.length;
  const inner = product(volume.shape.slice(axis + 1));
  const outer = product(volume.shape.slice(0, axis));
  const n = volume.shape[axis]!;
  const data = new Float32Array(product(shape));
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < weights.length; i++) {
      const { first, weights: w } = weights[i]!;
      const to = (o * weights.length + i) * inner;
      for (let k = 0; k < w.length; k++) {
        const from = (o * n + first + k) * inner;
        const weight = w[k]!;
        for (let j = 0; j < inner; j++) data[to + j]! += weight * volume.data[from + j]!;
      }
    }
  }
  return { data, shape };
}

export function resample(volume: Volume, from: Grid, to: Grid): Volume {
  // the axis that shrinks the most first
  const order = ([0, 1, 2] as (0 | 1 | 2)[]).sort(
    (a, b) => to.shape[a]! / from.shape[a]! - to.shape[b]! / from.shape[b]!,
  );
  return order.reduce(
    (done, axis) =>
      interpolateAxis(
        done,
        axis,
        interpolation(to.shape[axis]!, to.spacingMm[axis]!, from.shape[axis]!, from.spacingMm[axis]!),
      ),
    volume,
  );
}

/** Halved, rounded up: means of 2 x 2 x 2 voxels, of those that exist at the far edge. */
export function pool(volume: Volume): Volume {
  const [nx, ny, nz] = volume.shape;
  const shape = volume.shape.map((n) => Math.ceil(n / 2)) as Triple;
  const data = new Float32Array(product(shape));
  let at = 0;
  for (let x = 0; x < nx; x += 2) {
    for (let y = 0; y < ny; y += 2) {
      for (let z = 0; z < nz; z += 2) {
        let [sum, count] = [0, 0];
        for (let a = x; a < Math.min(x + 2, nx); a++) {
          for (let b = y; b < Math.min(y + 2, ny); b++) {
            for (let c = z; c < Math.min(z + 2, nz); c++) {
              sum += volume.data[(a * ny + b) * nz + c]!;
              count++;
            }
          }
        }
        data[at++] = sum / count;
      }
    }
  }
  return { data, shape };
}
