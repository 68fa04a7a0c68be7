/** Files that are read, and files that are refused with a sentence. */

import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { test } from "node:test";
import { readScan as readChosen, SeveralVolumes, writeNifti, type Choices, type Frame, type Scan } from "../src/images.ts";

const frame: Frame = {
  pixdim: [1, 1, 2, 3], units: 2, qformCode: 0, sformCode: 1, quatern: [0, 0, 0], offset: [0, 0, 0],
  srow: [[-1, 0, 0, 4], [0, 2, 0, 5], [0, 0, 3, 6]],
};
const readScan = (bytes: Uint8Array, choices: Partial<Choices> = {}): Promise<Scan> =>
  readChosen(bytes, { volume: null, admit: () => undefined, ...choices });
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
    [changed((view) => view.setFloat32(280, 30, true)), /voxels are 30.0 x/],
    [changed((view) => view.setFloat32(284, 1, true)), /not at right angles/],
    [changed((view) => view.setFloat32(280, 0, true)), /affine is unusable/],
    [writeNifti(values.map(() => 5), { shape: [2, 3, 4], frame }, ""), /All voxels are 5/],
  ];
  for (const [bytes, words] of cases) await assert.rejects(readScan(bytes), words);
});

/** Three volumes, each 100 above the one before. */
function several(): Uint8Array {
  const bytes = new Uint8Array(352 + 3 * 96);
  bytes.set(file());
  const view = new DataView(bytes.buffer);
  view.setInt16(40, 4, true);
  view.setInt16(48, 3, true);
  for (let i = 0; i < 72; i++) view.setFloat32(352 + 4 * i, 100 * Math.floor(i / 24) + (i % 24), true);
  return bytes;
}

test("of a file of several volumes the chosen one is read, and without a choice none", async () => {
  await assert.rejects(readScan(several()), (error) => error instanceof SeveralVolumes && error.count === 3);
  for (const volume of [0, 2]) {
    const scan = await readScan(several(), { volume });
    assert.deepEqual([...scan.data], [...values].map((value) => value + 100 * volume));
    assert.deepEqual(scan.notes, [`Volume ${volume} of 0 to 2 was taken.`]);
  }
  await assert.rejects(readScan(several(), { volume: 3 }), /no volume 3. Its volumes are 0 to 2/);
  await assert.rejects(readScan(several().slice(0, -4), { volume: 0 }), /cut off/);
});

test("a scan that is not admitted is refused before its voxels are read", async () => {
  const seen: unknown[] = [];
  const admit: Choices["admit"] = (shape, affine) => {
    seen.push(shape, affine);
    throw new Error("too large");
  };
  await assert.rejects(readScan(writeNifti(values.map(() => NaN), { shape: [2, 3, 4], frame }, ""), { admit }), /too large/);
  assert.deepEqual(seen, [[2, 3, 4], [...frame.srow, [0, 0, 0, 1]]]);
});
