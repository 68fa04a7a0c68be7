/** The computation, off the page's own thread. It is ended to cancel, and gets all files in messages: it loads nothing. */

import { planned, type Plan } from "./budget.ts";
import { convertDicom } from "./dicom.ts";
import { checkSame, type Gpu } from "./gpu.ts";
import { gzip, readScan, SeveralVolumes, writeNifti, type Scan } from "./images.ts";
import { closestRas, spacing, type Affine } from "./orientation.ts";
import { levelRunner, prepareRuntime, type Runner, type RuntimeFiles } from "./session.ts";
import { segment } from "./segment.ts";
import { UserError, type Card, type Triple } from "./types.ts";
import { volumesTsv, type VolumeRow } from "./volumes.ts";

export interface Start {
  card: Card;
  runtime: RuntimeFiles;
  dcm2niix: ArrayBuffer;
  threads: number;
  /** Memory that the browser reports, in bytes; null if it reports none. */
  memoryBytes: number | null;
  /** Which volume of a 4D file, from 0; null if none has been chosen. */
  volume: number | null;
  /** Computes with WebGPU if it is given; any failure of it comes as a message. */
  gpu: Gpu | null;
  /** About the computation before, for the notes. */
  note: string;
  files: File[];
}

export interface Done {
  kind: "done";
  labels: Uint8Array<ArrayBuffer>;
  labelsGz: Uint8Array<ArrayBuffer>;
  tsv: string;
  record: string;
  rows: VolumeRow[];
  notes: string[];
  places: Record<number, Triple>;
  seconds: number;
}

export type Message =
  | { kind: "progress"; share: number; text: string }
  | { kind: "scan"; name: string; image: Uint8Array<ArrayBuffer> }
  | { kind: "error"; text: string }
  /** One of several volumes must be chosen. */
  | { kind: "volumes"; text: string; count: number }
  /** WebGPU failed: to be computed again without. */
  | { kind: "without-gpu"; text: string }
  | Done;

const say = (message: Message, transfer: Transferable[] = []): void => postMessage(message, { transfer });

const NAMES = /\.(nii|nii\.gz|mgz|mgh|mgh\.gz)$/i;

addEventListener("message", ({ data }: MessageEvent<Start>) => {
  const subject = data.files.length === 1 ? `${data.files[0]!.name}: ` : "";
  work(data).catch((error: unknown) => {
    if (error instanceof SeveralVolumes) return say({ kind: "volumes", text: `${subject}${error.message}.`, count: error.count });
    const own = error instanceof UserError || !data.gpu;
    say(own ? { kind: "error", text: subject + words(error) } : { kind: "without-gpu", text: textOf(error) });
  });
});

async function work(wish: Start): Promise<void> {
  const { card, runtime, threads, gpu } = wish;
  const started = performance.now();
  const progress = (share: number, text: string): void => say({ kind: "progress", share, text });
  progress(0, "Reading");
  const { scan, plan, name, digest } = await read(wish);
  const made = `${card.software} ${card.version} ${card.name}`;
  const image = writeNifti(scan.data, scan, made);
  say({ kind: "scan", name, image }, [image.buffer]);
  prepareRuntime(runtime, threads);
  const { run } = gpu ? await checkedGpu(card, runtime) : levelRunner(card, runtime, "wasm");
  const result = await segment(scan, card, run, {
    plan,
    progress: (share, text) => progress(0.02 + 0.95 * share, text),
  });
  progress(0.97, "Writing");
  const seconds = (performance.now() - started) / 1000;
  const labels = writeNifti(result.labels, scan, made);
  const record = {
    software: card.software,
    version: card.version,
    purpose: card.purpose,
    model: { name: card.name, sha256: card.weights_sha256 },
    input: { name, sha256: digest, ...(wish.volume === null ? {} : { volume: wish.volume }) },
    grid: { shape: scan.shape, voxel_volume_mm3: result.voxelMm3, affine: scan.affine },
    notes: result.notes,
    volumes: result.rows,
    execution: { device: gpu ? `browser, WebGPU (${gpu.name})` : "browser, WebAssembly", threads, tile_bytes: plan.tileBytes, seconds: Math.round(1000 * seconds) / 1000 },
  };
  const labelsGz = await gzip(labels);
  const done: Done = {
    kind: "done", labels, labelsGz, tsv: volumesTsv(result.rows), record: JSON.stringify(record, null, 2) + "\n",
    rows: result.rows, notes: result.notes, places: result.places, seconds,
  };
  say(done, [labels.buffer, labelsGz.buffer]);
}

/** WebGPU, if it gives what WebAssembly gives on this device. */
async function checkedGpu(card: Card, runtime: RuntimeFiles): Promise<Runner> {
  const [gpu, wasm] = [levelRunner(card, runtime, "webgpu"), levelRunner(card, runtime, "wasm")];
  await checkSame(card, gpu.run, wasm.run);
  await wasm.close();
  return gpu;
}

/** The scan, and the memory of its segmentation; the file's bytes are not needed any longer. */
async function read({ card, dcm2niix, files, volume, memoryBytes, gpu, note: before }: Start): Promise<{ scan: Scan; plan: Plan; name: string; digest: string }> {
  const { bytes, name, note } = await bytesOf(files, dcm2niix);
  let plan: Plan | null = null;
  const admit = (shape: Triple, affine: Affine): void => {
    const sides = spacing(affine);
    const { axes } = closestRas(affine);
    const ras = (values: Triple): Triple => axes.map((old) => values[old]!) as Triple;
    plan = planned(card, ras(shape), ras(sides), { memoryBytes, tensorBytes: gpu?.tensorBytes ?? Infinity });
  };
  const scan = await readScan(bytes, { volume, admit });
  scan.notes.unshift(...[note, before].filter(Boolean));
  return { scan, plan: plan!, name, digest: await sha256(bytes) };
}

async function bytesOf(files: File[], dcm2niix: ArrayBuffer): Promise<{ bytes: Uint8Array; name: string; note: string }> {
  const scans = files.filter((file) => NAMES.test(file.name));
  if (scans.length > 1) throw new UserError(`There are ${scans.length} scans`, "Drop one at a time");
  const [scan] = scans;
  if (scan) return { bytes: new Uint8Array(await scan.arrayBuffer()), name: scan.name, note: "" };
  return convertDicom(files, dcm2niix);
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const digest = await crypto.subtle.digest("SHA-256", bytes as Uint8Array<ArrayBuffer>);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function words(error: unknown): string {
  if (error instanceof UserError) return error.message;
  const text = textOf(error);
  if (error instanceof RangeError || /bad_alloc|out of memory|allocation/i.test(text)) {
    return "The browser's memory is not enough for this scan. Close other tabs, or use the command line (lodbrain segment).";
  }
  return `The computation failed: ${text}`;
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
