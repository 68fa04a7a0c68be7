/** Connected components, and the rule that leaves one of each structure; see inference/postprocess.py. */

import type { Box, Triple, Volume } from "./types.ts";

/**
 * Number of the component of each voxel, from 1; 0 for voxels of value 0. Neighbours of one value belong together.
 * Components are numbered in the order of their first voxel.
 */
export function componentsOf(volume: Volume<Uint8Array>, neighbours: 6 | 26): { component: Uint32Array; count: number } {
  const { data, shape } = volume;
  const [nx, ny, nz] = shape;
  const component = new Uint32Array(data.length);
  let parents = new Uint32Array(1024);
  let next = 1;
  const find = (a: number): number => {
    while (parents[a] !== a) a = parents[a] = parents[parents[a]!]!;
    return a;
  };
  // the neighbours that have been numbered before, in scan order
  const before: Triple[] = [];
  for (let dx = -1; dx <= 0; dx++) {
    for (let dy = -1; dy <= 1; dy++) {
      for (let dz = -1; dz <= 1; dz++) {
        const earlier = dx < 0 || (dx === 0 && (dy < 0 || (dy === 0 && dz < 0)));
        if (earlier && (neighbours === 26 || Math.abs(dx) + Math.abs(dy) + Math.abs(dz) === 1)) before.push([dx, dy, dz]);
      }
    }
  }
  const steps = before.map(([dx, dy, dz]) => (dx * ny + dy) * nz + dz);
  for (let x = 0, i = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) {
      for (let z = 0; z < nz; z++, i++) {
        const value = data[i];
        if (!value) continue;
        let own = 0;
        for (let k = 0; k < before.length; k++) {
          const [dx, dy, dz] = before[k]!;
          if (x + dx < 0 || y + dy < 0 || y + dy >= ny || z + dz < 0 || z + dz >= nz) continue;
          const j = i + steps[k]!;
          if (data[j] !== value) continue;
          const other = find(component[j]!);
          if (!own) own = other;
          else if (own !== other) {
            const least = Math.min(own, other);
            parents[Math.max(own, other)] = least;
            own = least;
          }
        }
        if (!own) {
          if (next === parents.length) {
            const larger = new Uint32Array(2 * next);
            larger.set(parents);
            parents = larger;
          }
          parents[next] = own = next++;
        }
        component[i] = own;
      }
    }
  }
  const numbers = new Uint32Array(next);
  let count = 0;
  for (let a = 1; a < next; a++) numbers[a] = parents[a] === a ? ++count : numbers[find(a)]!;
  for (let i = 0; i < component.length; i++) component[i] = numbers[component[i]!]!;
  return { component, count };
}

/** Stands for a voxel that has no class yet; above every class. */
const STRAY = 63;

/**
 * Leave one connected component (26 neighbours) of each class, in place; return how many voxels changed.
 * The others are filled from outside inwards with the most frequent class around each voxel.
 */
export function keepLargest(classes: Volume<Uint8Array>, leave: readonly number[]): number {
  const bounds = filledBox(classes);
  if (!bounds) return 0;
  const [nx, ny, nz] = bounds.map(([a, b]) => b - a + 2) as Triple; // a margin of background
  const work: Volume<Uint8Array> = { data: new Uint8Array(nx * ny * nz), shape: [nx, ny, nz] };
  const [, sy, sz] = classes.shape;
  const [[x0, x1], [y0, y1], [z0, z1]] = bounds;
  const eachRow = (visit: (from: number, to: number) => void): void => {
    for (let x = x0; x < x1; x++) {
      for (let y = y0; y < y1; y++) visit((x * sy + y) * sz + z0, ((x - x0 + 1) * ny + (y - y0 + 1)) * nz + 1);
    }
  };
  const length = z1 - z0;
  eachRow((from, to) => work.data.set(classes.data.subarray(from, from + length), to));
  markStrays(work, leave);
  fill(work);
  let moved = 0;
  eachRow((from, to) => {
    for (let k = 0; k < length; k++) {
      if (classes.data[from + k] !== work.data[to + k]) {
        classes.data[from + k] = work.data[to + k]!;
        moved++;
      }
    }
  });
  return moved;
}

function filledBox({ data, shape }: Volume<Uint8Array>): Box | null {
  const [nx, ny, nz] = shape;
  const low = [nx, ny, nz];
  const high = [-1, -1, -1];
  for (let x = 0, i = 0; x < nx; x++) {
    for (let y = 0; y < ny; y++) {
      for (let z = 0; z < nz; z++, i++) {
        if (!data[i]) continue;
        low[0] = Math.min(low[0]!, x);
        high[0] = x;
        if (y < low[1]!) low[1] = y;
        if (y > high[1]!) high[1] = y;
        if (z < low[2]!) low[2] = z;
        if (z > high[2]!) high[2] = z;
      }
    }
  }
  return high[0]! < 0 ? null : (low.map((a, axis) => [a, high[axis]! + 1]) as Box);
}

function markStrays(work: Volume<Uint8Array>, leave: readonly number[]): void {
  const { component, count } = componentsOf(work, 26);
  const sizes = new Uint32Array(count + 1);
  const classOf = new Uint8Array(count + 1);
  for (let i = 0; i < component.length; i++) {
    sizes[component[i]!]!++;
    classOf[component[i]!] = work.data[i]!;
  }
  const largest = new Uint32Array(STRAY + 1);
  for (let a = 1; a <= count; a++) {
    const best = largest[classOf[a]!]!;
    if (!best || sizes[a]! > sizes[best]!) largest[classOf[a]!] = a;
  }
  for (let i = 0; i < component.length; i++) {
    const a = component[i]!;
    if (a && largest[classOf[a]!] !== a && !leave.includes(classOf[a]!)) work.data[i] = STRAY;
  }
}

function fill({ data, shape }: Volume<Uint8Array>): void {
  const [, ny, nz] = shape;
  const around: number[] = [];
  for (let dx = -1; dx <= 1; dx++) {
    for (let dy = -1; dy <= 1; dy++) {
      for (let dz = -1; dz <= 1; dz++) if (dx || dy || dz) around.push((dx * ny + dy) * nz + dz);
    }
  }
  let at: number[] = [];
  for (let i = 0; i < data.length; i++) if (data[i] === STRAY) at.push(i);
  const votes = new Uint8Array(STRAY);
  while (at.length) {
    // all are chosen before any is set: the order of the voxels must not matter
    const chosen = at.map((i) => {
      votes.fill(0);
      let [best, most] = [STRAY, 0];
      for (const step of around) {
        const value = data[i + step]!;
        if (value !== STRAY) votes[value]!++;
      }
      for (let value = 0; value < STRAY; value++) if (votes[value]! > most) [best, most] = [value, votes[value]!];
      return best;
    });
    at.forEach((i, k) => (data[i] = chosen[k]!));
    at = at.filter((_, k) => chosen[k] === STRAY);
  }
}
