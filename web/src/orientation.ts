/** Bringing the axes of a scan to right, front and up (RAS) without interpolation, and back; see images/grid.py. */

import type { Triple, Volume } from "./types.ts";

/** Row-major 4 x 4: voxel to millimetres. */
export type Affine = number[][];

/** For each new axis, the old axis that becomes it and whether it runs backwards. */
export interface Reorientation {
  axes: Triple;
  flipped: [boolean, boolean, boolean];
}

/** Assignments of axes whose fit differs by less are equal: headers store float32. */
const TIE = 1e-4;
const ORDERS: Triple[] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

export function spacing(affine: Affine): Triple {
  return [0, 1, 2].map((c) => Math.hypot(affine[0]![c]!, affine[1]![c]!, affine[2]![c]!)) as Triple;
}

export function determinant(m: number[][]): number {
  const [a, b, c] = m as [number[], number[], number[]];
  return (
    a[0]! * (b[1]! * c[2]! - b[2]! * c[1]!) - a[1]! * (b[0]! * c[2]! - b[2]! * c[0]!) + a[2]! * (b[0]! * c[1]! - b[1]! * c[0]!)
  );
}

/** The largest cosine between two axes: 0 at right angles. */
export function shearCosine(affine: Affine): number {
  const sides = spacing(affine);
  let most = 0;
  for (const [a, b] of [[0, 1], [0, 2], [1, 2]] as [number, number][]) {
    const dot = [0, 1, 2].reduce((sum, r) => sum + affine[r]![a]! * affine[r]![b]!, 0);
    most = Math.max(most, Math.abs(dot / (sides[a]! * sides[b]!)));
  }
  return most;
}

/** The nearest right-angled axes: Newton's iteration of the polar decomposition. */
function polar(axes: number[][]): number[][] {
  let m = axes;
  for (let step = 0; step < 60; step++) {
    const d = determinant(m);
    // the inverse transposed is the matrix of cofactors over the determinant
    const next = [0, 1, 2].map((r) =>
      [0, 1, 2].map((c) => {
        const [r1, r2, c1, c2] = [(r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3];
        const cofactor = m[r1]![c1]! * m[r2]![c2]! - m[r1]![c2]! * m[r2]![c1]!;
        return (m[r]![c]! + cofactor / d) / 2;
      }),
    );
    const change = Math.max(...next.flatMap((row, r) => row.map((v, c) => Math.abs(v - m[r]![c]!))));
    m = next;
    if (change < 1e-14) break;
  }
  return m;
}

export function closestRas(affine: Affine): Reorientation {
  const sides = spacing(affine);
  const rotation = polar([0, 1, 2].map((r) => [0, 1, 2].map((c) => affine[r]![c]! / sides[c]!)));
  const candidates = ORDERS.map((order) => {
    const signs = order.map((old, axis) => (rotation[axis]![old]! < 0 ? -1 : 1));
    const score = order.reduce((sum, old, axis) => sum + Math.abs(rotation[axis]![old]!), 0);
    // ties are broken by the resulting axes in space, so that the order in the file does not matter
    const key = [0, 1, 2].flatMap((r) => order.map((old, c) => Math.round(rotation[r]![old]! * signs[c]! * 1000) + 0));
    return { order, signs, score, key };
  });
  const best = Math.max(...candidates.map((one) => one.score));
  const fitting = candidates.filter((one) => one.score > best - TIE);
  fitting.sort((a, b) => {
    const at = a.key.findIndex((value, i) => value !== b.key[i]);
    return at < 0 ? 0 : b.key[at]! - a.key[at]!;
  });
  const chosen = fitting[0]!;
  return { axes: chosen.order, flipped: chosen.signs.map((sign) => sign < 0) as [boolean, boolean, boolean] };
}

/** The volume with its axes reordered, in C order; `source` is as stored in a file, its first axis fastest. */
export function toRas(source: Float32Array, shape: Triple, turn: Reorientation): Volume {
  const fileStride: Triple = [1, shape[0], shape[0] * shape[1]];
  const [nx, ny, nz] = turn.axes.map((old) => shape[old]!) as Triple;
  const step = turn.axes.map((old, axis) => fileStride[old]! * (turn.flipped[axis] ? -1 : 1)) as Triple;
  const first = turn.axes.reduce((sum, old, axis) => sum + (turn.flipped[axis] ? fileStride[old]! * (shape[old]! - 1) : 0), 0);
  const data = new Float32Array(source.length);
  let at = 0;
  for (let x = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) {
      let from = first + x * step[0] + y * step[1];
      for (let z = 0; z < nz; z++, from += step[2]) data[at++] = source[from]!;
    }
  }
  return { data, shape: [nx, ny, nz] };
}

/** Labels in RAS and C order, back to the order of the file: takes back `toRas`. */
export function fromRas(labels: Volume<Uint8Array>, shape: Triple, turn: Reorientation): Uint8Array {
  const fileStride: Triple = [1, shape[0], shape[0] * shape[1]];
  const [nx, ny, nz] = labels.shape;
  const step = turn.axes.map((old, axis) => fileStride[old]! * (turn.flipped[axis] ? -1 : 1)) as Triple;
  const first = turn.axes.reduce((sum, old, axis) => sum + (turn.flipped[axis] ? fileStride[old]! * (shape[old]! - 1) : 0), 0);
  const out = new Uint8Array(labels.data.length);
  let at = 0;
  for (let x = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) {
      let to = first + x * step[0] + y * step[1];
      for (let z = 0; z < nz; z++, to += step[2]) out[to] = labels.data[at++]!;
    }
  }
  return out;
}
