/** The JSON card that `lodbrain models export --onnx` writes beside the graphs, and the shapes of arrays. */

export type Triple = [number, number, number];
/** (start, stop) along each axis, in voxels. */
export type Span = [number, number];
export type Box = [Span, Span, Span];

/** A volume whose last axis is the fastest in memory, as in NumPy's C order. */
export interface Volume<T extends Float32Array | Uint8Array = Float32Array> {
  data: T;
  shape: Triple;
}

export interface LevelRow {
  file: string;
  bytes: number;
  sha256: string;
  exponent: number;
  channels: number[];
  sided: boolean;
  /** Edge of the blocks of voxels that it works on. */
  block: number;
  stride: number;
  radius: number;
  alignment: number;
  halo: number;
  outputs: Record<string, number>;
  temperature: number;
  coverage: number;
  widths: Record<string, number>;
}

export interface LabelRow {
  index: number;
  name: string;
  color: Triple;
  side: "left" | "right" | null;
  mirror: number;
  tissue: number;
  sideless: number;
}

export interface Card {
  format: string;
  format_version: number;
  software: string;
  version: string;
  purpose: string;
  name: string;
  description: string;
  licence: string;
  citation: string;
  weights_sha256: string;
  levels: LevelRow[];
  voxels: { largest_ratio: number; finest_mm: number; coarsest_resampled_mm: number };
  background: {
    face_share: number;
    dark_percentile: number;
    bright_percentile: number;
    below: number;
    above: number;
    sample_voxels: number;
  };
  intensity: {
    below_black: number;
    most_values: number;
    foreground_limit: number;
    brain_limit: number;
    brain_quantiles: Triple;
    least_brain_voxels: number;
  };
  brain: { least_posterior: number; least_ml: number; plausible_ml: [number, number] };
  boxes: { margin_mm: number; doubling_halo: number };
  labels: LabelRow[];
  sideless: string[];
  postprocessing: { connectivity: number; several_pieces: number[] };
  stripping: { most_ratio: number; note: string };
}

/** A problem with the scan or the machine, in words for the visitor. */
export class UserError extends Error {
  constructor(what: string, hint = "") {
    super(hint ? `${what}. ${hint}.` : `${what}.`);
    this.name = "UserError";
  }
}

export function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}
