/** Intensity normalisation; see images/intensity.py and images/black_background.py. */

import { kth, percentile, quantiles } from "./quantiles.ts";
import type { Card, Volume } from "./types.ts";
import { componentsOf } from "./components.ts";

/** (value - offset) / unit, clamped to +-limit. */
export interface Scaling {
  offset: number;
  unit: number;
  limit: number;
}

/** The intensity of no signal: what one voxel in 200 is darker than. */
export function blackLevel(image: Volume, card: Card): number {
  const { below_black: share, most_values: most } = card.intensity;
  const step = Math.max(1, Math.floor(image.data.length / most));
  const values = new Float32Array(Math.ceil(image.data.length / step));
  for (let i = 0; i < values.length; i++) values[i] = image.data[i * step]!;
  return kth(values, Math.floor(share * values.length));
}

/** From black, in units of the mean of all voxels above the mean. */
export function foregroundScaling(image: Volume, card: Card): Scaling {
  const black = blackLevel(image, card);
  const bright = meanAboveMean(image.data, black);
  return { offset: black, unit: bright > 0 ? bright : 1, limit: card.intensity.foreground_limit };
}

function meanAboveMean(data: Float32Array, offset: number): number {
  let sum = 0;
  for (const value of data) sum += value - offset;
  const mean = sum / data.length;
  let [bright, count] = [0, 0];
  for (const value of data) {
    if (value - offset > mean) {
      bright += value - offset;
      count++;
    }
  }
  return count ? bright / count : 1;
}

/** Median and interquartile range inside of the coarse brain mask. */
export function brainScaling(image: Volume, brain: Uint8Array, card: Card): Scaling {
  const { brain_quantiles: at, least_brain_voxels: least, brain_limit: limit } = card.intensity;
  let values = image.data.filter((_, i) => brain[i]);
  if (values.length < least) {
    const mean = image.data.reduce((a, b) => a + b, 0) / image.data.length;
    values = image.data.filter((value) => value > mean);
  }
  if (!values.length) return { offset: 0, unit: 1, limit };
  const [low, middle, high] = quantiles(values, at) as [number, number, number];
  const unit = high - low;
  return { offset: middle, unit: unit > 0 ? unit : Math.max(Math.abs(middle), 1), limit };
}

/** The most frequent value on the six faces of a volume, its count, and how many values there are. */
export function faceBackground(volume: Volume): { value: number; count: number; size: number } {
  const [nx, ny, nz] = volume.shape;
  const counts = new Map<number, number>();
  let size = 0;
  const add = (x: number, y: number, z: number): void => {
    const value = volume.data[(x * ny + y) * nz + z]!;
    counts.set(value, (counts.get(value) ?? 0) + 1);
    size++;
  };
  for (const x of [0, nx - 1]) for (let y = 0; y < ny; y++) for (let z = 0; z < nz; z++) add(x, y, z);
  for (const y of [0, ny - 1]) for (let x = 0; x < nx; x++) for (let z = 0; z < nz; z++) add(x, y, z);
  for (const z of [0, nz - 1]) for (let x = 0; x < nx; x++) for (let y = 0; y < ny; y++) add(x, y, z);
  let [value, count] = [NaN, 0];
  for (const [one, times] of counts) {
    if (times > count || (times === count && one < value)) [value, count] = [one, times];
  }
  return { value, count, size };
}

/** Bring a background of one exact value that is no plausible black to black, in place; the note is empty if it is left. */
export function blackenBackground(volume: Volume, card: Card): string {
  const rule = card.background;
  const { value: background, count, size } = faceBackground(volume);
  if (count < rule.face_share * size) return "";
  const [nx, ny, nz] = volume.shape;
  const { data } = volume;
  const step = Math.max(1, Math.trunc((data.length / rule.sample_voxels) ** (1 / 3)));
  const rest: number[] = [];
  for (let x = 0; x < nx; x += step) {
    for (let y = 0; y < ny; y += step) {
      for (let z = 0; z < nz; z += step) {
        const value = data[(x * ny + y) * nz + z]!;
        if (value !== background) rest.push(value);
      }
    }
  }
  if (!rest.length) return "";
  const sorted = Float32Array.from(rest).sort();
  const dark = Math.fround(percentile(sorted, rule.dark_percentile));
  const bright = Math.fround(percentile(sorted, rule.bright_percentile));
  const unit = Math.fround(bright - dark);
  if (unit === 0) return ""; // a mask
  if (dark - rule.below * unit <= background && background <= dark + rule.above * unit) return "";
  const within = sorted[0]! < background && background < sorted[sorted.length - 1]!;
  if (within) {
    fillFromOutside(volume, background, dark); // tissue may have the same value
  } else {
    for (let i = 0; i < data.length; i++) if (data[i] === background) data[i] = dark;
  }
  const [from, to] = [background, dark].map((value) => Number(value.toPrecision(4)));
  return (
    `The background (${from}) lies ${within ? "within" : "outside of"} the intensities of the head: ` +
    `it was set to their darkest, ${to}.`
  );
}

/** Replace a value in the components (6 neighbours) that touch a face of the volume. */
function fillFromOutside(volume: Volume, value: number, by: number): void {
  const [nx, ny, nz] = volume.shape;
  const mask = new Uint8Array(volume.data.length);
  for (let i = 0; i < mask.length; i++) mask[i] = volume.data[i] === value ? 1 : 0;
  const { component, count } = componentsOf({ data: mask, shape: volume.shape }, 6);
  const touching = new Uint8Array(count + 1);
  for (let x = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) {
      const inner = x > 0 && x < nx - 1 && y > 0 && y < ny - 1;
      for (let z = 0; z < nz; z += inner ? Math.max(1, nz - 1) : 1) touching[component[(x * ny + y) * nz + z]!] = 1;
    }
  }
  touching[0] = 0;
  for (let i = 0; i < mask.length; i++) if (touching[component[i]!]) volume.data[i] = by;
}

/** Volume in mm3 of all voxels that are not exactly background; see segmentation/caveats.py. */
export function shownMm3(volume: Volume, voxelMm3: number): number {
  const { value } = faceBackground(volume);
  let shown = 0;
  for (const one of volume.data) if (one !== value) shown++;
  return shown * voxelMm3;
}
