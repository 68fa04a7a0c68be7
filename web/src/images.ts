/** Reading NIfTI and MGH files with the checks that matter, and writing results on their grid; see lodbrain/images. */

import { determinant, shearCosine, spacing, type Affine } from "./orientation.ts";
import { percentile } from "./quantiles.ts";
import { product, UserError, type Triple } from "./types.ts";

/** What a result's header takes over from the scan's: where it lies, and nothing that could name a person. */
export interface Frame {
  pixdim: number[];
  units: number;
  qformCode: number;
  sformCode: number;
  quatern: Triple;
  offset: Triple;
  srow: number[][];
}

/** Where the voxels lie in a file, and how they are stored. */
interface Layout {
  view: DataView;
  start: number;
  /** NIfTI's number of the type. */
  code: number;
  little: boolean;
  slope: number;
  intercept: number;
  shape: Triple;
  volumes: number;
  affine: Affine;
  frame: Frame;
  notes: string[];
}

export interface Choices {
  /** Which volume of a 4D file, from 0; null if none has been chosen. */
  volume: number | null;
  /** Called before the voxels are read; throws where they cannot be segmented. */
  admit: (shape: Triple, affine: Affine) => void;
}

/** A file of several volumes, of which one must be chosen. */
export class SeveralVolumes extends Error {
  constructor(readonly count: number) {
    super(`The file holds ${count} volumes`);
  }
}

export interface Scan {
  /** Intensities as stored, first axis fastest; finite. */
  data: Float32Array;
  shape: Triple;
  /** Voxel to millimetres, RAS. */
  affine: Affine;
  frame: Frame;
  notes: string[];
}

const AGAIN = "Copy or export the file again";
type Reader = (view: DataView, at: number, little: boolean) => number;
const NIFTI_TYPES: Record<number, [size: number, read: Reader]> = {
  2: [1, (v, i) => v.getUint8(i)],
  4: [2, (v, i, e) => v.getInt16(i, e)],
  8: [4, (v, i, e) => v.getInt32(i, e)],
  16: [4, (v, i, e) => v.getFloat32(i, e)],
  64: [8, (v, i, e) => v.getFloat64(i, e)],
  256: [1, (v, i) => v.getInt8(i)],
  512: [2, (v, i, e) => v.getUint16(i, e)],
  768: [4, (v, i, e) => v.getUint32(i, e)],
  1024: [8, (v, i, e) => Number(v.getBigInt64(i, e))],
  1280: [8, (v, i, e) => Number(v.getBigUint64(i, e))],
};
const MGH_TYPES: Record<number, number> = { 0: 2, 1: 8, 3: 16, 4: 4, 10: 512 };
const MM_PER_UNIT: Record<number, number> = { 1: 1000, 3: 0.001 };

/** The scan in a file's bytes, compressed or not. */
export async function readScan(bytes: Uint8Array, { volume, admit }: Choices): Promise<Scan> {
  const layout = await layoutOf(bytes);
  const { view, start, code, shape, volumes, affine, frame, notes } = layout;
  const type = NIFTI_TYPES[code];
  if (!type) throw new UserError(`The header names an unknown type of voxels (${code})`, AGAIN);
  checkAffine(affine);
  const size = product(shape) * type[0];
  if (!(start >= 0) || start + size * volumes > view.byteLength) throw new UserError("The file is cut off: voxels are missing", AGAIN);
  if (volume === null && volumes > 1) throw new SeveralVolumes(volumes);
  if (volume !== null && !(Number.isInteger(volume) && volume >= 0 && volume < volumes)) throw new UserError(`The file has no volume ${volume}`, `Its volumes are 0 to ${volumes - 1}`);
  admit(shape, affine);
  if (volumes > 1) notes.push(`Volume ${volume} of 0 to ${volumes - 1} was taken.`);
  return { data: intensities({ ...layout, start: start + size * (volume ?? 0) }, type), shape, affine, frame, notes };
}

async function layoutOf(bytes: Uint8Array): Promise<Layout> {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) bytes = await gunzip(bytes);
  if (bytes.length < 348) throw new UserError("The file is too short for a scan", AGAIN);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getInt32(0) === 1) return readMgh(view);
  const sizes = [348, 540];
  if (sizes.includes(view.getInt32(0, true))) return readNifti(view, true);
  if (sizes.includes(view.getInt32(0, false))) return readNifti(view, false);
  throw new UserError("The file is neither NIfTI nor MGH", "Drop a .nii, .nii.gz or .mgz file, or a folder of DICOM files");
}

async function gunzip(bytes: Uint8Array): Promise<Uint8Array> {
  try {
    const stream = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new UserError("The file is damaged: it cannot be decompressed", AGAIN);
  }
}

function readNifti(view: DataView, e: boolean): Layout {
  const two = view.getInt32(0, e) === 540;
  const magic = String.fromCharCode(...[0, 1, 2].map((k) => view.getUint8((two ? 4 : 344) + k)));
  if (magic !== (two ? "n+2" : "n+1")) {
    throw new UserError("The file is not a single-file NIfTI image", "Convert a .hdr and .img pair, or an Analyze image, to .nii");
  }
  const dims = Array.from({ length: 8 }, (_, k) => (two ? Number(view.getBigInt64(16 + 8 * k, e)) : view.getInt16(40 + 2 * k, e)));
  const { shape, volumes } = checkedShape(dims.slice(1, 1 + Math.min(Math.max(dims[0]!, 0), 7)));
  const code = view.getInt16(two ? 12 : 70, e);
  if ([128, 2304].includes(code)) throw new UserError("The file is a colour picture", "Give the scan itself");
  if ([32, 1792, 2048].includes(code)) throw new UserError("The file holds complex numbers", "Give the magnitude image");
  const start = two ? Number(view.getBigInt64(168, e)) : view.getFloat32(108, e);
  const float = (one: number, other: number): number => (two ? view.getFloat64(other, e) : view.getFloat32(one, e));
  const pixdim = Array.from({ length: 8 }, (_, k) => float(76 + 4 * k, 104 + 8 * k));
  const [slope, intercept] = [float(112, 176), float(116, 184)];
  const int = (one: number, other: number): number => (two ? view.getInt32(other, e) : view.getInt16(one, e));
  const frame: Frame = {
    pixdim: [pixdim[0]! < 0 ? -1 : 1, ...pixdim.slice(1, 4)],
    units: two ? view.getInt32(500, e) : view.getUint8(123),
    qformCode: int(252, 344),
    sformCode: int(254, 348),
    quatern: [0, 1, 2].map((k) => float(256 + 4 * k, 352 + 8 * k)) as Triple,
    offset: [0, 1, 2].map((k) => float(268 + 4 * k, 376 + 8 * k)) as Triple,
    srow: [0, 1, 2].map((r) => [0, 1, 2, 3].map((c) => float(280 + 16 * r + 4 * c, 400 + 32 * r + 8 * c))),
  };
  const notes = e ? [] : ["The file is big-endian; the values were converted."];
  const affine = affineOf(frame, shape, notes);
  const scaled = Number.isFinite(slope) && slope !== 0;
  return {
    view, start, code, little: e, slope: scaled ? slope : 1, intercept: scaled && Number.isFinite(intercept) ? intercept : 0,
    shape, volumes, affine, frame, notes,
  };
}

function readMgh(view: DataView): Layout {
  const dims = [0, 1, 2, 3].map((k) => view.getInt32(4 + 4 * k));
  const { shape, volumes } = checkedShape(dims);
  const code = MGH_TYPES[view.getInt32(20)];
  if (code === undefined) throw new UserError("The file holds voxels of an unknown type", AGAIN);
  const notes: string[] = [];
  const stated = view.getInt16(28) !== 0;
  if (!stated) notes.push("No orientation is stated: left and right are unknown and may be swapped in the result.");
  const floats = (at: number, n: number): number[] => Array.from({ length: n }, (_, k) => view.getFloat32(at + 4 * k));
  const sides = stated ? floats(30, 3) : [1, 1, 1];
  const axes = stated ? floats(42, 9) : [-1, 0, 0, 0, 0, -1, 0, 1, 0];
  const centre = stated ? floats(78, 3) : [0, 0, 0];
  const srow = [0, 1, 2].map((r) => {
    const columns = [0, 1, 2].map((c) => axes[3 * c + r]! * sides[c]!);
    return [...columns, centre[r]! - columns.reduce((sum, v, c) => sum + (v * shape[c]!) / 2, 0)];
  });
  const frame: Frame = {
    pixdim: [1, ...sides], units: 2, qformCode: 0, sformCode: 1, quatern: [0, 0, 0], offset: [0, 0, 0], srow,
  };
  const affine = [...srow, [0, 0, 0, 1]];
  return { view, start: 284, code, little: false, slope: 1, intercept: 0, shape, volumes, affine, frame, notes };
}

function checkedShape(dims: number[]): Pick<Layout, "shape" | "volumes"> {
  const times = dims.join(" x ");
  if (dims.some((n) => n <= 0)) throw new UserError(`The header claims the shape ${times}`, AGAIN);
  if (dims.length < 3 || dims.slice(0, 3).includes(1)) throw new UserError(`The file is a flat picture (${times})`, "Give a 3D scan");
  return { shape: dims.slice(0, 3) as Triple, volumes: product(dims.slice(3)) };
}

/** The sform, else the qform, else the centred grid; in mm. */
function affineOf(frame: Frame, shape: Triple, notes: string[]): Affine {
  const mm = MM_PER_UNIT[frame.units & 7] ?? 1;
  let rows: number[][];
  frame.pixdim = frame.pixdim.map((v, k) => (k ? Math.abs(v) : v));
  if (frame.sformCode > 0) {
    rows = frame.srow;
  } else if (frame.qformCode > 0) {
    rows = quaternionRows(frame);
  } else {
    notes.push("Neither qform nor sform is set: left and right are unknown and may be swapped in the result.");
    const sides = frame.pixdim.slice(1).map((v, axis) => (axis === 0 ? -v : v));
    rows = sides.map((v, r) => [0, 1, 2].map((c) => (c === r ? v : 0)).concat((-v * (shape[r]! - 1)) / 2));
  }
  return [...rows.map((row) => row.map((v) => v * mm)), [0, 0, 0, 1]];
}

function quaternionRows({ quatern, pixdim, offset }: Frame): number[][] {
  const [b, c, d] = quatern;
  const squares = b * b + c * c + d * d;
  if (!(squares <= 1.01)) throw new UserError("The header's qform is not a rotation", "Convert the scan again from DICOM");
  const norm = squares > 1 - 1e-7 ? Math.sqrt(squares) : 1;
  const [x, y, z] = [b / norm, c / norm, d / norm];
  const w = Math.sqrt(Math.max(0, 1 - x * x - y * y - z * z));
  const turn = [
    [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), w * w + y * y - x * x - z * z, 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), w * w + z * z - x * x - y * y],
  ];
  const sides = [pixdim[1]!, pixdim[2]!, pixdim[3]! * pixdim[0]!];
  return turn.map((row, r) => [...row.map((v, k) => v * sides[k]!), offset[r]!]);
}

function intensities({ view, start, little, slope, intercept, shape, notes }: Layout, [size, read]: [number, Reader]): Float32Array {
  const count = product(shape);
  const data = new Float32Array(count);
  let [low, high, bad] = [Infinity, -Infinity, 0];
  for (let i = 0; i < count; i++) {
    const value = slope * read(view, start + i * size, little) + intercept;
    data[i] = value;
    if (!Number.isFinite(data[i])) bad++;
    else {
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (bad > count / 2) throw new UserError(`${((100 * bad) / count).toFixed(0)}% of the voxels are not numbers`, AGAIN);
  if (bad) {
    notes.push(`NaN or Inf in ${((100 * bad) / count).toFixed(2)}% of the voxels; they were set to the darkest intensity.`);
    const step = Math.floor(count / (1 << 20)) + 1;
    const sample = data.filter((value, i) => i % step === 0 && Number.isFinite(value)).sort();
    const darkest = percentile(sample, 0.1);
    for (let i = 0; i < count; i++) if (!Number.isFinite(data[i])) data[i] = darkest;
  }
  if (Math.max(-low, high) > 1e18) throw new UserError("The intensities leave the range of ordinary numbers", AGAIN);
  if (low === high) throw new UserError(`All voxels are ${low}`, "Give the scan itself");
  // an offset beyond so many times the range would cost float32 the differences
  if (Math.max(-low, high) > 4096 * (high - low)) {
    notes.push(`Intensities from ${low} to ${high} were shifted to begin at 0.`);
    for (let i = 0; i < count; i++) data[i] = slope * read(view, start + i * size, little) + intercept - low;
  }
  return data;
}

function checkAffine(affine: Affine): void {
  const sides = spacing(affine);
  const flat = affine.flat();
  const unit = [0, 1, 2].map((r) => [0, 1, 2].map((c) => affine[r]![c]! / sides[c]!));
  if (flat.some((v) => !Number.isFinite(v) || Math.abs(v) > 1e6) || !(Math.abs(determinant(unit)) > 1e-3)) {
    throw new UserError("The header's affine is unusable: the orientation is lost", "Convert the scan again from DICOM");
  }
  if (Math.min(...sides) < 0.0999 || Math.max(...sides) > 10.001) {
    throw new UserError(`The voxels are ${sides.map((v) => v.toPrecision(3)).join(" x ")} mm`, "Sides of 0.1 to 10 mm are expected");
  }
  if (shearCosine(affine) > 0.02) {
    throw new UserError("The axes of the scan are not at right angles", "The command line (lodbrain segment) can segment it");
  }
}

/** A NIfTI-1 file on the grid of a scan; voxels in the scan's own order, labels (uint8) or intensities (float32). */
export function writeNifti(data: Uint8Array | Float32Array, scan: Pick<Scan, "shape" | "frame">, description: string): Uint8Array<ArrayBuffer> {
  const { shape, frame } = scan;
  const out = new Uint8Array(352 + data.byteLength);
  const view = new DataView(out.buffer);
  view.setInt32(0, 348, true);
  [3, ...shape, 1, 1, 1, 1].forEach((n, k) => view.setInt16(40 + 2 * k, n, true));
  const bytes = data.BYTES_PER_ELEMENT;
  view.setInt16(70, bytes === 1 ? 2 : 16, true);
  view.setInt16(72, 8 * bytes, true);
  [...frame.pixdim, 1, 1, 1, 1].forEach((v, k) => view.setFloat32(76 + 4 * k, v, true));
  view.setFloat32(108, 352, true);
  view.setFloat32(112, 1, true);
  view.setUint8(123, frame.units);
  new TextEncoder().encodeInto(description.slice(0, 79), out.subarray(148, 227));
  view.setInt16(252, frame.qformCode, true);
  view.setInt16(254, frame.sformCode, true);
  frame.quatern.forEach((v, k) => view.setFloat32(256 + 4 * k, v, true));
  frame.offset.forEach((v, k) => view.setFloat32(268 + 4 * k, v, true));
  frame.srow.forEach((row, r) => row.forEach((v, c) => view.setFloat32(280 + 16 * r + 4 * c, v, true)));
  out.set([0x6e, 0x2b, 0x31, 0], 344);
  out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 352);
  return out;
}

export async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
