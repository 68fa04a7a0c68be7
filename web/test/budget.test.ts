/** The memory is planned before a scan is computed, and a scan that cannot fit is refused. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { planned, planOf } from "../src/budget.ts";
import { UserError, type Card, type Triple } from "../src/types.ts";
import vectors from "./vectors.json" with { type: "json" };

const card = vectors.card as unknown as Card;
const limits = (gb: number | null, tensorBytes = Infinity): { memoryBytes: number | null; tensorBytes: number } => ({
  memoryBytes: gb === null ? null : 1e9 * gb,
  tensorBytes,
});
const head: [Triple, Triple] = [[170, 256, 256], [1, 1, 1]];

test("the plan is that of the memory measured in Chromium, or a little above", () => {
  // 1.9 and 1.4 GB: docs/howto/browser.md
  for (const [[shape, spacing], measured] of [[head, 1.9e9], [[[85, 128, 128], [2, 2, 2]] as [Triple, Triple], 1.4e9]] as const) {
    const { tileBytes, peakBytes, wasmBytes } = planned(card, shape, spacing, limits(8));
    assert.equal(tileBytes, 1.5e9);
    assert.ok(peakBytes >= measured && peakBytes < 1.5 * measured, `${peakBytes}`);
    assert.ok(wasmBytes < peakBytes);
  }
});

test("where memory is short tiles are smaller, until the plan fits", () => {
  const fine: [Triple, Triple] = [[400, 512, 512], [0.5, 0.5, 0.5]];
  const first = planOf(card, ...fine, 0.9e9);
  const allowed = first.peakBytes / 1e9 - 0.1;
  assert.ok(0.2 * allowed < 0.9);
  const small = planned(card, ...fine, limits(allowed));
  assert.ok(small.peakBytes <= 1e9 * allowed && small.tileBytes < 0.2e9 * allowed && small.wasmBytes < first.wasmBytes, JSON.stringify([first, small]));
});

test("a scan that does not fit is refused in a sentence that says what helps", () => {
  for (const [gb, words] of [[0.5, /^The scan needs about \d\.\d GB of memory, the browser reports 0\.5 GB\. Use a computer with more memory, or the command line/], [0.25, /needs about/]] as const) {
    assert.throws(() => planned(card, ...head, limits(gb)), (error) => error instanceof UserError && words.test(error.message));
  }
  assert.throws(() => planned(card, [1200, 1400, 1400], [0.2, 0.2, 0.2], limits(32)), /needs about .* GB of memory, the browser reports 32\.0 GB/);
});

test("what WebAssembly cannot address is refused although the browser does not tell its memory", () => {
  const huge: Triple = [3000, 3000, 3000]; // the whole head at the coarsest level cannot be cut
  assert.throws(() => planned(card, huge, [1, 1, 1], limits(null)), /GB in WebAssembly, which can address 4\.3 GB/);
  assert.ok(planned(card, ...head, limits(null)).wasmBytes < 2 ** 32);
});

test("more voxels never need less, and an anisotropic scan more than its own grid", () => {
  const peak = (shape: Triple, spacing: Triple): number => planOf(card, shape, spacing, 1e9).peakBytes;
  assert.ok(peak([256, 256, 256], [1, 1, 1]) > peak([170, 256, 256], [1, 1, 1]));
  assert.ok(peak([170, 256, 128], [1, 1, 2]) > peak([170, 256, 128], [1.2, 1.2, 1.2]));
});

test("tiles stay within the largest tensor of the device", () => {
  assert.ok(planned(card, ...head, limits(8, 2 ** 27)).wasmBytes < planned(card, ...head, limits(8)).wasmBytes);
});
