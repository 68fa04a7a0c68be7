/** From logits to labels: the best class and the sums of posteriors; see inference/decide.py. */

import type { Card } from "./types.ts";

/** Posteriors that agree to 2^-17 of their size count as equal; the higher class wins. */
const floats = new Float32Array(1);
const bits = new Int32Array(floats.buffer);

export class Decider {
  /** Sums of the posteriors p of each class, and of p (1 - p), in voxels. */
  readonly soft: Float64Array;
  readonly variance: Float64Array;
  private readonly classes: number;
  private readonly p: Float64Array;
  private readonly total: Float64Array;
  private readonly squares: Float64Array;
  private readonly onLeft: Float64Array;
  /** Class of each structure without side, on the left and on the right. */
  private readonly sided: [Uint8Array, Uint8Array];

  constructor(
    private readonly card: Card,
    private readonly hasSides: boolean,
    private readonly temperature: number,
  ) {
    this.classes = hasSides ? card.labels.length : card.sideless.length;
    this.soft = new Float64Array(card.labels.length);
    this.variance = new Float64Array(card.labels.length);
    [this.p, this.total, this.squares, this.onLeft] = [0, 1, 2, 3].map(() => new Float64Array(this.classes)) as [
      Float64Array, Float64Array, Float64Array, Float64Array,
    ];
    const half = (side: "left" | "right"): Uint8Array => {
      const table = new Uint8Array(card.sideless.length);
      card.labels.forEach((label, c) => {
        if (label.side === null || label.side === side) table[label.sideless] = c;
      });
      return table;
    };
    this.sided = [half("left"), half("right")];
  }

  /**
   * Best class of one voxel; its posteriors are added to the sums of the current part.
   *
   * `logits` holds class c at `at + c * step`; `side` is the log odds of left against right at the same voxel.
   */
  voxel(logits: Float32Array, at: number, step: number, side: number): number {
    const { p, classes } = this;
    let most = -Infinity;
    for (let c = 0, i = at; c < classes; c++, i += step) if (logits[i]! > most) most = logits[i]!;
    let sum = 0;
    for (let c = 0, i = at; c < classes; c++, i += step) sum += p[c] = Math.exp((logits[i]! - most) / this.temperature);
    const left = this.hasSides ? 0 : 1 / (1 + Math.exp(-side / this.temperature));
    let [best, key] = [0, -1];
    for (let c = 0; c < classes; c++) {
      const value = p[c]! / sum;
      this.total[c]! += value;
      this.squares[c]! += value * value;
      if (!this.hasSides) this.onLeft[c]! += value * left;
      if (value < 0.02) continue; // the best of 33 has at least 1/33
      floats[0] = value;
      const own = (bits[0]! & ~63) | c;
      if (own > key) [best, key] = [c, own];
    }
    return this.hasSides ? best : this.sided[side > 0 ? 0 : 1][best]!;
  }

  /** Add what has been collected to `soft` and `variance`: after each part of the scan, as on the command line. */
  flush(): void {
    this.card.labels.forEach((label, c) => {
      const k = this.hasSides ? c : label.sideless;
      const total = this.total[k]!;
      const variance = total - this.squares[k]!;
      let soft = total;
      if (!this.hasSides && label.side === "left") soft = this.onLeft[k]!;
      if (!this.hasSides && label.side === "right") soft = total - this.onLeft[k]!;
      this.soft[c]! += soft;
      this.variance[c]! += this.hasSides ? variance : (variance * soft) / Math.max(total, 1e-9);
    });
    for (const sums of [this.total, this.squares, this.onLeft]) sums.fill(0);
  }
}
