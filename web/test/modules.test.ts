/** Each module gives what the Python code gives: tests/makers/web_vectors.py writes the vectors. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { boxesAround, tiles } from "../src/boxes.ts";
import { keepLargest } from "../src/components.ts";
import { cutStructures } from "../src/edges.ts";
import { Decider } from "../src/decide.ts";
import { blackenBackground, blackLevel, brainScaling, foregroundScaling, shownMm3, type Scaling } from "../src/normalise.ts";
import { closestRas, fromRas, toRas } from "../src/orientation.ts";
import { interpolateAxis, interpolation, pool, workingGrid } from "../src/pyramid.ts";
import { addCaveat, volumes, volumesTsv } from "../src/volumes.ts";
import type { Box, Card, Triple, Volume } from "../src/types.ts";
import vectors from "./vectors.json" with { type: "json" };

const card = vectors.card as unknown as Card;

function volume(given: { shape: number[]; data: number[] }): Volume {
  return { shape: given.shape as Triple, data: Float32Array.from(given.data) };
}

function bytes(given: { shape: number[]; data: number[] }): Volume<Uint8Array> {
  return { shape: given.shape as Triple, data: Uint8Array.from(given.data) };
}

function close(found: ArrayLike<number>, expected: ArrayLike<number>, relative = 1e-5): void {
  assert.equal(found.length, expected.length);
  for (let i = 0; i < found.length; i++) {
    const most = relative * Math.max(1, Math.abs(expected[i]!));
    assert.ok(Math.abs(found[i]! - expected[i]!) <= most, `at ${i}: ${found[i]}, expected ${expected[i]}`);
  }
}

function closeScaling(found: Scaling, expected: Scaling): void {
  close([found.offset, found.unit, found.limit], [expected.offset, expected.unit, expected.limit]);
}

test("every orientation gets the axes and flips of closest_ras", () => {
  assert.equal(vectors.orientation.length, 144);
  for (const { affine, axes, flipped } of vectors.orientation) assert.deepEqual(closestRas(affine), { axes, flipped });
});

test("a scan comes to RAS and back", () => {
  const { affine, shape, stored, ras } = vectors.ras;
  const turn = closestRas(affine);
  const turned = toRas(Float32Array.from(stored), shape as Triple, turn);
  assert.deepEqual(turned, volume(ras));
  const back = fromRas({ shape: turned.shape, data: Uint8Array.from(turned.data) }, shape as Triple, turn);
  assert.deepEqual([...back], stored);
});

test("the working grid is that of the command line", () => {
  for (const expected of vectors.working_grid) {
    const found = workingGrid([101, 90, 33], expected.spacing as Triple, card);
    assert.deepEqual([found.shape, found.native, found.note], [expected.shape, expected.native, expected.note]);
    close(found.spacingMm, expected.spacing_mm);
  }
});

test("interpolation has the weights of the command line", () => {
  for (const { arguments: given, matrix } of vectors.interpolation) {
    const [nTo, vTo, nFrom, vFrom] = given as [number, number, number, number];
    const weights = interpolation(nTo, vTo, nFrom, vFrom);
    const unit: Volume = { shape: [1, nFrom, nFrom], data: new Float32Array(nFrom * nFrom) };
    for (let i = 0; i < nFrom; i++) unit.data[i * nFrom + i] = 1;
    close(interpolateAxis(unit, 1, weights).data, matrix.flat());
  }
});

test("pooling averages the voxels that exist", () => {
  const found = pool(volume(vectors.pool.volume));
  assert.deepEqual(found.shape, vectors.pool.pooled.shape);
  close(found.data, vectors.pool.pooled.data);
});

test("intensities are scaled as on the command line", () => {
  const { image, black, foreground, brain, small } = vectors.scaling;
  assert.equal(blackLevel(volume(image), card), black);
  closeScaling(foregroundScaling(volume(image), card), foreground);
  for (const { mask, scaling } of [brain, small]) closeScaling(brainScaling(volume(image), Uint8Array.from(mask), card), scaling);
});

test("a background that is no black is replaced, and only there", () => {
  assert.deepEqual(vectors.background.map(({ note }) => note !== ""), [true, false, true, true]);
  for (const { scan, black, note, shown } of vectors.background) {
    const found = volume(scan);
    assert.equal(shownMm3(found, 2), shown);
    assert.equal(blackenBackground(found, card), note);
    close(found.data, black.data, 1e-6);
  }
});

test("boxes grow from fine to coarse as on the command line", () => {
  for (const { levels, brain, shapes, voxels_mm, boxes } of vectors.boxes) {
    const rows = levels.map((row, p) => ({ ...card.levels[p]!, ...row }));
    assert.deepEqual(boxesAround(brain as Box, { ...card, levels: rows }, shapes as Triple[], voxels_mm), boxes);
  }
});

test("tiles are cut as on the command line", () => {
  for (const { arguments: given, tiles: expected } of vectors.tiles) {
    const [box, halo, align, most] = given as [Box, number, number, number];
    assert.deepEqual(tiles(box, halo, align, most), expected);
  }
});

test("decisions and sums are those of the command line", () => {
  for (const { sided, logits, side, classes, soft, variance } of vectors.decide) {
    const decider = new Decider(card, sided, 1);
    const values = Float32Array.from(logits);
    const found = classes.map((_, i) => decider.voxel(values, i, classes.length, side ? side[i]! : 0));
    decider.flush();
    assert.deepEqual(found, classes);
    close(decider.soft, soft, 1e-4);
    close(decider.variance, variance, 1e-4);
  }
});

test("a temperature divides the log odds", () => {
  const { logits, side, classes, soft } = vectors.decide[0]!;
  const decider = new Decider(card, false, 2);
  const values = Float32Array.from(logits, (value) => 2 * value);
  for (let i = 0; i < classes.length; i++) decider.voxel(values, i, classes.length, 2 * side![i]!);
  decider.flush();
  close(decider.soft, soft, 1e-4);
});

test("one component of each structure is left", () => {
  const { classes, after, moved } = vectors.keep_largest;
  const found = bytes(classes);
  assert.ok(moved > 20);
  assert.equal(keepLargest(found, card.postprocessing.several_pieces), moved);
  assert.deepEqual([...found.data], after.data);
});

test("the table of volumes is the command line's, to the last digit", () => {
  const { counts, soft, variance, tsv, stripped_tsv, sentence } = vectors.volumes;
  const level = card.levels[card.levels.length - 1]!;
  const rows = volumes(card, level, counts, Float64Array.from(soft), Float64Array.from(variance), 1.7);
  assert.equal(volumesTsv(rows), tsv);
  const tiv = rows.find((row) => row.name === "TIV")!.volumeMm3;
  assert.equal(addCaveat(rows, 1.4 * tiv, card), "");
  assert.equal(addCaveat(rows, 1.2 * tiv, card), sentence);
  assert.equal(volumesTsv(rows), stripped_tsv);
});

test("structures cut by the edge are those that the command line names", () => {
  const { labels, shape, spacing_mm, rows, cut } = vectors.edges;
  assert.ok(cut.length > 5 && cut.length < rows.length - 2);
  assert.deepEqual(cutStructures(Uint8Array.from(labels), shape as Triple, spacing_mm as Triple, rows), cut);
});
