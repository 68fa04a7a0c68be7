/** The whole head coarsely, then the brain finely, in tiles; see inference/ladder.py and inference/tiled_levels.py. */

import { boxesAround, shapeOf, tiles, whole } from "./boxes.ts";
import { tileVoxels, type Plan } from "./budget.ts";
import { keepLargest } from "./components.ts";
import { Decider } from "./decide.ts";
import { blackenBackground, brainScaling, foregroundScaling, type Scaling } from "./normalise.ts";
import { interpolateAxis, interpolation, lastLevel, pool, resample, voxelMm, workingGrid, type Grid } from "./pyramid.ts";
import { product, UserError, type Box, type Card, type LevelRow, type Span, type Triple, type Volume } from "./types.ts";

/** Voxels whose variance is shared among the sides at once, as on the command line. */
const SCORED_VOXELS = 128_000;

/** Channels of a level over a box: (C, X, Y, Z), C order. */
export interface Channels {
  data: Float32Array;
  channels: number;
}

export type Tensors = Record<string, Channels>;

/** Runs one level's graph: an image (X, Y, Z) with sides of its stride, and what the level above gave for the box. */
export type RunLevel = (level: number, image: Volume, logVoxel: number, above: Tensors, aboveShape: Triple) => Promise<Tensors>;

export interface Settings {
  plan: Plan;
  /** Called with the share done and a few words; may throw to cancel. */
  progress: (share: number, text: string) => void;
}

export interface Prediction {
  classes: Volume<Uint8Array>;
  soft: Float64Array;
  variance: Float64Array;
  level: LevelRow;
  notes: string[];
}

interface Stage {
  tensors: Tensors;
  box: Box;
}

/** Segment a scan in RAS order. Its data may be changed. */
export async function runLadder(scan: Volume, spacingMm: Triple, card: Card, run: RunLevel, settings: Settings): Promise<Prediction> {
  const own: Grid = { shape: scan.shape, spacingMm, native: true, note: "" };
  const grid = workingGrid(scan.shape, spacingMm, card);
  const notes = [blackenBackground(scan, card), grid.note].filter(Boolean);
  const last = lastLevel(card, voxelMm(grid));
  const images = [grid.native ? scan : resample(scan, own, grid)];
  for (let p = 0; p < last; p++) images.unshift(pool(images[0]!));
  const voxels = images.map((_, p) => voxelMm(grid) * 2 ** (last - p));
  const shapes = images.map((image) => image.shape);

  settings.progress(0, "Finding the brain");
  let stage = await wholeHead(images[0]!, voxels[0]!, card, run);
  const brain = brainOf(stage, images[0]!.shape, card);
  const brainMl = (brain.reduce((a, b) => a + b, 0) * voxels[0]! ** 3) / 1000;
  if (brainMl < card.brain.least_ml) {
    throw new UserError(`No brain was found in the scan (${brainMl.toFixed(0)} ml)`, "Is it a T1-weighted scan of a head?");
  }
  const scaling = brainScaling(images[0]!, brain, card);
  let box = boxOf(brain, images[0]!.shape);
  const [least, most] = card.brain.plausible_ml;
  if (brainMl < least || brainMl > most) {
    notes.push(`the coarse brain has ${brainMl.toFixed(0)} ml, which is implausible: the whole volume was used`);
    box = whole(images[0]!.shape);
  }
  const boxes = boxesAround(box, card, shapes, voxels);
  const context: Context = { card, run, images, voxels, scaling, settings };
  for (let p = 1; p < last; p++) {
    settings.progress(0.1 + (0.2 * p) / last, `Level ${p + 1} of ${last + 1}`);
    stage = await refine(context, p, stage, boxes[p]!);
  }
  const sink = new Sink(card, own, grid, last, last === 0 ? stage.box : boxes[last]!);
  if (last === 0) {
    sink.take(stage.tensors, stage.box, stage.box);
  } else {
    await eachTile(context, last, stage, boxes[last]!, (tensors, read, core, share) => {
      sink.take(tensors, read, core);
      settings.progress(0.3 + 0.55 * share, `Level ${last + 1} of ${last + 1}`);
    });
  }
  settings.progress(0.9, "Tidying up");
  sink.finish();
  const classes: Volume<Uint8Array> = { data: sink.classes, shape: scan.shape };
  keepLargest(classes, card.postprocessing.several_pieces);
  return { classes, soft: sink.decider.soft, variance: sink.decider.variance, level: card.levels[last]!, notes };
}

interface Context {
  card: Card;
  run: RunLevel;
  images: Volume[];
  voxels: number[];
  scaling: Scaling;
  settings: Settings;
}

/** A part of an image, scaled, with 0 behind the far edge of the volume. */
function scaledPart(image: Volume, box: Box, { offset, unit, limit }: Scaling): Volume {
  const shape = shapeOf(box);
  const data = new Float32Array(product(shape));
  const [, ny, nz] = image.shape;
  const [xs, ys, zs] = box.map(([start, stop], axis) => Math.min(stop, image.shape[axis]!) - start) as Triple;
  for (let x = 0; x < xs; x++) {
    for (let y = 0; y < ys; y++) {
      let from = ((box[0][0] + x) * ny + box[1][0] + y) * nz + box[2][0];
      let to = (x * shape[1] + y) * shape[2];
      for (let z = 0; z < zs; z++) data[to++] = Math.min(limit, Math.max(-limit, (image.data[from++]! - offset) / unit));
    }
  }
  return { data, shape };
}

async function wholeHead(image: Volume, mm: number, card: Card, run: RunLevel): Promise<Stage> {
  const level = card.levels[0]!;
  const box = whole(image.shape.map((n) => Math.ceil(n / level.stride) * level.stride) as Triple);
  const scaled = scaledPart(image, box, foregroundScaling(image, card));
  return { tensors: await run(0, scaled, Math.log2(mm) - level.exponent, {}, [0, 0, 0]), box };
}

/** Where the coarsest level sees more brain than not. */
function brainOf(stage: Stage, shape: Triple, card: Card): Uint8Array {
  const [, ny, nz] = shapeOf(stage.box);
  const { data, channels } = stage.tensors["logits"]!;
  const step = data.length / channels;
  const isBrain = card.levels[0]!.sided
    ? card.labels.map((label) => label.tissue > 0)
    : card.sideless.map((_, k) => card.labels.some((label) => label.sideless === k && label.tissue > 0));
  const brain = new Uint8Array(product(shape));
  let at = 0;
  for (let x = 0; x < shape[0]; x++) {
    for (let y = 0; y < shape[1]; y++) {
      for (let z = 0; z < shape[2]; z++) {
        const i = (x * ny + y) * nz + z;
        let most = -Infinity;
        for (let c = 0; c < channels; c++) most = Math.max(most, data[i + c * step]!);
        let [sum, inside] = [0, 0];
        for (let c = 0; c < channels; c++) {
          const p = Math.exp(data[i + c * step]! - most);
          sum += p;
          if (isBrain[c]) inside += p;
        }
        brain[at++] = inside / sum > card.brain.least_posterior ? 1 : 0;
      }
    }
  }
  return brain;
}

function boxOf(mask: Uint8Array, shape: Triple): Box {
  const box = shape.map((n) => [n, 0]) as Box;
  let i = 0;
  for (let x = 0; x < shape[0]; x++) {
    for (let y = 0; y < shape[1]; y++) {
      for (let z = 0; z < shape[2]; z++) {
        if (!mask[i++]) continue;
        [x, y, z].forEach((at, axis) => {
          box[axis]![0] = Math.min(box[axis]![0], at);
          box[axis]![1] = Math.max(box[axis]![1], at + 1);
        });
      }
    }
  }
  return box;
}

/** A level's results over an aligned box, tile by tile. */
async function eachTile(
  { card, run, images, voxels, scaling, settings }: Context,
  p: number,
  above: Stage,
  box: Box,
  take: (tensors: Tensors, read: Box, core: Box, share: number) => void,
): Promise<void> {
  const level = card.levels[p]!;
  const cut = tiles(box, level.halo, level.alignment, tileVoxels(level, box, settings.plan));
  for (const [number, tile] of cut.entries()) {
    const image = scaledPart(images[p]!, tile.read, scaling);
    const under = tile.read.map(([start, stop]) => [start / 2, stop / 2]) as Box;
    const told: Tensors = {};
    for (const [name, tensor] of Object.entries(above.tensors)) told[`coarse_${name}`] = cutChannels(tensor, above.box, under);
    const found = await run(p, image, Math.log2(voxels[p]!) - level.exponent, told, shapeOf(under));
    take(found, tile.read, tile.core, (number + 1) / cut.length);
  }
}

/** Channels over a part of a box; beyond it its last voxels are repeated. */
function cutChannels({ data, channels }: Channels, from: Box, to: Box): Channels {
  const [nx, ny, nz] = shapeOf(from);
  const [mx, my, mz] = shapeOf(to);
  const clamp = (at: number, n: number): number => Math.min(Math.max(at, 0), n - 1);
  const zs = Int32Array.from({ length: mz }, (_, z) => clamp(to[2][0] - from[2][0] + z, nz));
  const out = new Float32Array(channels * mx * my * mz);
  let at = 0;
  for (let c = 0; c < channels; c++) {
    for (let x = 0; x < mx; x++) {
      const fx = clamp(to[0][0] - from[0][0] + x, nx);
      for (let y = 0; y < my; y++) {
        const row = ((c * nx + fx) * ny + clamp(to[1][0] - from[1][0] + y, ny)) * nz;
        for (let z = 0; z < mz; z++) out[at++] = data[row + zs[z]!]!;
      }
    }
  }
  return { data: out, channels };
}

/** A level's results over a box, for the next level. */
async function refine(context: Context, p: number, above: Stage, box: Box): Promise<Stage> {
  const shape = shapeOf(box);
  const tensors: Tensors = {};
  await eachTile(context, p, above, box, (found, read, core) => {
    const [, ry, rz] = shapeOf(read);
    for (const [name, { data, channels }] of Object.entries(found)) {
      const whole = (tensors[name] ??= { data: new Float32Array(channels * product(shape)), channels });
      const readSize = data.length / channels;
      const length = core[2][1] - core[2][0];
      for (let c = 0; c < channels; c++) {
        for (let x = core[0][0]; x < core[0][1]; x++) {
          for (let y = core[1][0]; y < core[1][1]; y++) {
            const from = c * readSize + ((x - read[0][0]) * ry + y - read[1][0]) * rz + core[2][0] - read[2][0];
            const to = ((c * shape[0] + x - box[0][0]) * shape[1] + y - box[1][0]) * shape[2] + core[2][0] - box[2][0];
            whole.data.set(data.subarray(from, from + length), to);
          }
        }
      }
    }
  });
  return { tensors, box };
}

/** Collects decisions on the scan's own grid; see inference/sink.py. */
class Sink {
  readonly classes: Uint8Array;
  readonly decider: Decider;
  private readonly sided: boolean;
  private readonly box: Box;
  /** Logits, then the side, over the box, where they are interpolated later. */
  private kept: Channels | null = null;

  constructor(card: Card, private readonly scan: Grid, private readonly grid: Grid, last: number, box: Box) {
    const level = card.levels[last]!;
    this.sided = level.sided;
    this.classes = new Uint8Array(product(scan.shape));
    this.decider = new Decider(card, level.sided, level.temperature);
    this.box = box.map(([a, b], axis) => [Math.max(0, a), Math.min(grid.shape[axis]!, b)]) as Box;
  }

  /** Take a level's result over `read`, of which the voxels of `core` count. */
  take(tensors: Tensors, read: Box, core: Box): void {
    const spans = core.map(([a, b], axis) => [Math.max(a, this.box[axis]![0]), Math.min(b, this.box[axis]![1])]) as Box;
    if (spans.some(([a, b]) => a >= b)) return;
    const { data: logits, channels } = tensors["logits"]!;
    const side = this.sided ? null : tensors["side"]!.data;
    const [, ry, rz] = shapeOf(read);
    const step = logits.length / channels;
    const start = (x: number, y: number): number => ((x - read[0][0]) * ry + y - read[1][0]) * rz - read[2][0];
    if (this.grid.native) {
      const rows = Math.max(2, 2 * Math.floor(SCORED_VOXELS / ((spans[1][1] - spans[1][0]) * (spans[2][1] - spans[2][0])) / 2));
      this.eachRow(spans, (x, y, [z0, z1]) => {
        if (y === spans[1][0] && (x - spans[0][0]) % rows === 0) this.decider.flush();
        let to = (x * this.scan.shape[1] + y) * this.scan.shape[2] + z0;
        for (let i = start(x, y) + z0; i < start(x, y) + z1; i++) {
          this.classes[to++] = this.decider.voxel(logits, i, step, side ? side[i]! : 0);
        }
      });
      return this.decider.flush();
    }
    const shape = shapeOf(this.box);
    const count = channels + (side ? 1 : 0);
    this.kept ??= { data: new Float32Array(count * product(shape)), channels: count };
    const kept = this.kept.data;
    for (let c = 0; c < count; c++) {
      const source = c < channels ? logits.subarray(c * step, (c + 1) * step) : side!;
      this.eachRow(spans, (x, y, [z0, z1]) => {
        const [lx, ly, lz] = this.box.map(([low]) => low) as Triple;
        const to = ((c * shape[0] + x - lx) * shape[1] + y - ly) * shape[2] - lz;
        kept.set(source.subarray(start(x, y) + z0, start(x, y) + z1), to + z0);
      });
    }
  }

  /** Decide what was kept, after the last tile. */
  finish(): void {
    if (!this.kept) return;
    const { data, channels } = this.kept;
    const shape = shapeOf(this.box);
    const axes = this.box.map(([low, high], axis) => {
      const n = this.grid.shape[axis]!;
      const rows = interpolation(this.scan.shape[axis]!, this.scan.spacingMm[axis]!, n, this.grid.spacingMm[axis]!);
      // scan voxels whose whole weight lies inside of the box
      const inside = rows.flatMap(({ first, weights }, i) => {
        const sum = weights.reduce((s, w, k) => (first + k >= low && first + k < high ? s + w : s), 0);
        return sum > 0.999 ? [i] : [];
      });
      if (!inside.length) return null;
      const [from, to] = [inside[0]!, inside[inside.length - 1]! + 1];
      const moved = rows.slice(from, to).map(({ first, weights }) => {
        const skip = Math.max(0, low - first);
        return { first: first + skip - low, weights: weights.slice(skip, Math.min(weights.length, high - first)) };
      });
      return { from, to, moved };
    });
    this.kept = null;
    if (axes.some((axis) => axis === null)) return; // a box thinner than a voxel of the scan
    const [ax, ay, az] = axes as NonNullable<(typeof axes)[number]>[];
    const size = product(shape);
    const plane = shape[1] * shape[2];
    const [wy, wz] = [ay!.moved.length, az!.moved.length];
    for (const [row, weights] of ax!.moved.entries()) {
      const slab = new Float32Array(channels * wy * wz);
      for (let c = 0; c < channels; c++) {
        const near = data.subarray(c * size + weights.first * plane, c * size + (weights.first + weights.weights.length) * plane);
        let part: Volume = { data: near, shape: [weights.weights.length, shape[1], shape[2]] };
        part = interpolateAxis(part, 0, [{ first: 0, weights: weights.weights }]);
        slab.set(interpolateAxis(interpolateAxis(part, 1, ay!.moved), 2, az!.moved).data, c * wy * wz);
      }
      const side = this.sided ? null : slab.subarray((channels - 1) * wy * wz);
      for (let y = 0, i = 0; y < wy; y++) {
        let to = ((ax!.from + row) * this.scan.shape[1] + ay!.from + y) * this.scan.shape[2] + az!.from;
        for (let z = 0; z < wz; z++, i++) this.classes[to++] = this.decider.voxel(slab, i, wy * wz, side ? side[i]! : 0);
      }
      this.decider.flush();
    }
  }

  private eachRow(spans: Box, visit: (x: number, y: number, z: Span) => void): void {
    for (let x = spans[0][0]; x < spans[0][1]; x++) for (let y = spans[1][0]; y < spans[1][1]; y++) visit(x, y, spans[2]);
  }
}
