/** Files that are read, and files that are refused with a sentence. */

import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { test } from "node:test";
import { readScan, writeNifti, type Frame } from "../src/images.ts";

const frame: Frame = {
  pixdim: [1, 1, 2, 3], units: 2, qformCode: 0, sformCode: 1, quatern: [0, 0, 0], offset: [0, 0, 0],
  srow: [[-1, 0, 0, 4], [0, 2, 0, 5], [0, 0, 3, 6]],
};
const values = Float32Array.from({ length: 24 }, (_, i) => i);
const file = (): Uint8Array<ArrayBuffer> => writeNifti(values, { shape: [2, 3, 4], frame }, "test");

test("what is written is read again, compressed or not", async () => {
  for (const bytes of [file(), new Uint8Array(gzipSync(file()))]) {
    const scan = await readScan(bytes);
    assert.deepEqual([scan.shape, [...scan.data], scan.notes], [[2, 3, 4], [...values], []]);
    assert.deepEqual(scan.affine, [...frame.srow, [0, 0, 0, 1]]);
    assert.deepEqual(writeNifti(scan.data, scan, "test"), file());
  }
});

test("a scan without sform is where its qform says", async () => {
  const turned = { ...frame, sformCode: 0, qformCode: 1, quatern: [0, 0, Math.SQRT1_2] as [number, number, number], offset: [7, 8, 9] as [number, number, number] };
  const { affine } = await readScan(writeNifti(values, { shape: [2, 3, 4], frame: turned }, ""));
  const expected = [[0, -2, 0, 7], [1, 0, 0, 8], [0, 0, 3, 9], [0, 0, 0, 1]];
  affine.flat().forEach((value, i) => assert.ok(Math.abs(value - expected.flat()[i]!) < 1e-6));
});

test("slope and intercept are applied, and NaN gets the darkest intensity", async () => {
  const bytes = file();
  const view = new DataView(bytes.buffer);
  view.setFloat32(112, 2, true);
  view.setFloat32(116, -3, true);
  view.setFloat32(352, NaN, true);
  const scan = await readScan(bytes);
  assert.ok(Math.abs(scan.data[0]! - -1) < 0.1);
  assert.deepEqual([...scan.data.slice(1)], [...values.slice(1)].map((value) => 2 * value - 3));
  assert.match(scan.notes[0]!, /^NaN or Inf in 4.17% of the voxels/);
});

test("damaged and unfit files are refused with a sentence", async () => {
  const changed = (change: (view: DataView) => void): Uint8Array => {
    const bytes = file();
    change(new DataView(bytes.buffer));
    return bytes;
  };
  const cases: [Uint8Array, RegExp][] = [
    [file().slice(0, 400), /cut off/],
    [new Uint8Array(400).fill(7), /neither NIfTI nor MGH/],
    [new Uint8Array(gzipSync(file())).slice(0, 150), /damaged/],
    [changed((view) => view.setInt16(70, 128, true)), /colour picture/],
    [changed((view) => view.setInt16(46, 1, true)), /flat picture/],
    [changed((view) => [40, 48].forEach((at) => view.setInt16(at, at === 40 ? 4 : 2, true))), /2 volumes/],
    [changed((view) => view.setFloat32(280, 30, true)), /voxels are 30.0 x/],
    [changed((view) => view.setFloat32(284, 1, true)), /not at right angles/],
    [changed((view) => view.setFloat32(280, 0, true)), /affine is unusable/],
    [writeNifti(values.map(() => 5), { shape: [2, 3, 4], frame }, ""), /All voxels are 5/],
  ];
  for (const [bytes, words] of cases) await assert.rejects(readScan(bytes), words);
});
