/** The table of volumes with its intervals; see segmentation/volume_table.py and inference/calibration.py. */

import type { Card, LevelRow } from "./types.ts";

export interface VolumeRow {
  /** Number in the label map; null for sums over several labels. */
  index: number | null;
  name: string;
  volumeMm3: number;
  softMm3: number;
  lowMm3: number | null;
  highMm3: number | null;
  note: string | null;
}

/** Doubt below this share of a volume says nothing. */
const LEAST_VARIANCE = 0.01;

export function volumes(
  card: Card, level: LevelRow, counts: ArrayLike<number>, soft: Float64Array, variance: Float64Array, voxelMm3: number,
): VolumeRow[] {
  const row = (index: number | null, name: string, members: (c: number) => boolean): VolumeRow => {
    const sum = (values: ArrayLike<number>): number =>
      card.labels.reduce((total, _, c) => (members(c) ? total + values[c]! : total), 0) * voxelMm3;
    const [hard, mild, unsure] = [sum(counts), sum(soft), sum(variance)];
    const interval = intervalOf(level, name, mild, unsure);
    return { index, name, volumeMm3: hard, softMm3: mild, lowMm3: interval?.[0] ?? null, highMm3: interval?.[1] ?? null, note: null };
  };
  const rows = card.labels.flatMap((label, c) => (label.index ? [row(label.index, label.name, (k) => k === c)] : []));
  rows.push(row(null, "TIV", (c) => card.labels[c]!.index > 0));
  rows.push(row(null, "brain", (c) => card.labels[c]!.tissue > 0));
  return rows;
}

function intervalOf(level: LevelRow, name: string, volume: number, variance: number): [number, number] | null {
  const width = level.widths[name.replace(/^(Left|Right)-/, "")];
  if (width === undefined || volume <= 0) return null;
  const reach = Math.exp(Math.min(width * Math.max(LEAST_VARIANCE, variance / volume), 50));
  return [volume / reach, volume * reach];
}

/** Note on TIV in a skull-stripped scan; returns a sentence, or nothing. */
export function addCaveat(rows: VolumeRow[], shownMm3: number, card: Card): string {
  const tiv = rows.find((row) => row.name === "TIV");
  if (!tiv || shownMm3 >= card.stripping.most_ratio * tiv.volumeMm3) return "";
  tiv.note = card.stripping.note;
  return "The scan is skull-stripped: its TIV is limited by the mask, not the volume inside of the skull.";
}

export function volumesTsv(rows: VolumeRow[]): string {
  const number = (value: number | null): string => (value === null ? "n/a" : value.toFixed(3));
  const lines = rows.map((row) =>
    [row.index ?? "n/a", row.name, number(row.volumeMm3), number(row.softMm3), number(row.lowMm3), number(row.highMm3), row.note ?? "n/a"].join("\t"),
  );
  return ["index\tname\tvolume_mm3\tsoft_volume_mm3\tlow_mm3\thigh_mm3\tnote", ...lines].join("\n") + "\n";
}
