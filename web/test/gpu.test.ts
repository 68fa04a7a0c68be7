/** WebGPU is used only where it computes what WebAssembly computes. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkSame, difference } from "../src/gpu.ts";
import type { RunLevel, Tensors } from "../src/ladder.ts";
import { product, type Card } from "../src/types.ts";
import vectors from "./vectors.json" with { type: "json" };

const card = vectors.card as unknown as Card;

/** Stands for a device: outputs are sums of all that it is given, times a factor at one level. */
function device(factors: Record<number, number> = {}, seen: string[] = []): RunLevel {
  return async (level, image, logVoxel, above, aboveShape) => {
    seen.push(`${level}: ${image.shape} ${Object.entries(above).map(([name, { channels, data }]) => `${name} ${channels} ${data.length / channels}`)} ${aboveShape}`);
    const sum = [image, ...Object.values(above)].reduce((total, { data }) => total + data.reduce((a, b) => a + b, 0), logVoxel);
    const found: Tensors = {};
    for (const [name, channels] of Object.entries(card.levels[level]!.outputs)) {
      found[name] = { channels, data: Float32Array.from({ length: channels * product(image.shape) }, (_, i) => (i ? image.data[i % image.data.length]! : sum) * (factors[level] ?? 1)) };
    }
    return found;
  };
}

test("a device that computes the same passes, with inputs of every level", async () => {
  const seen: string[] = [];
  await checkSame(card, device({}, seen), device({ 0: 1 + 1e-6 }));
  assert.deepEqual(seen, [
    "0: 16,16,16  8,8,8",
    "1: 8,8,8 coarse_features 16 64,coarse_logits 33 64 4,4,4",
    "2: 4,4,4 coarse_features 16 8,coarse_logits 33 8 2,2,2",
  ]);
});

test("a device that computes something else does not, at whichever level", async () => {
  for (const level of [0, 1, 2]) {
    await assert.rejects(checkSame(card, device({ [level]: 1.04 }), device()), new RegExp(`of level ${level + 1} differ by 4.0%`));
  }
  await assert.rejects(checkSame(card, device({ 1: NaN }), device()), /of level 2 differ by NaN%/);
});

test("a difference is a share of the largest value", () => {
  assert.equal(difference(Float32Array.of(1, -7, 2), Float32Array.of(1, -8, 2)), 1 / 8);
});
