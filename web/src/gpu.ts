/** Whether WebGPU can be used: what the browser offers, and whether it computes what WebAssembly computes. */

import { product, type Card, type Triple } from "./types.ts";
import type { RunLevel, Tensors } from "./ladder.ts";

/** A graphics processor. */
export interface Gpu {
  /** As the browser names it, for the record. */
  name: string;
  /** Bytes of the largest tensor that it takes. */
  tensorBytes: number;
}

/** Largest difference from WebAssembly, as a share of a tensor's largest value: float32 sums differ by 1e-6 of it. */
const MOST_DIFFERENCE = 1e-3;

/**
 * The graphics processor that may be used, or null. ONNX Runtime's build for WebGPU needs JavaScript Promise
 * Integration (JSPI). Adapters in software are slower than WebAssembly and are taken only on request.
 */
export async function findGpu(software: boolean): Promise<Gpu | null> {
  if (!("Suspending" in WebAssembly) || !navigator.gpu) return null;
  try {
    const adapter = await navigator.gpu.requestAdapter();
    if (!adapter || (adapter.info.isFallbackAdapter && !software)) return null;
    const name = [adapter.info.vendor, adapter.info.architecture].filter(Boolean).join(" ") || "unnamed";
    return { name, tensorBytes: Math.min(adapter.limits.maxStorageBufferBindingSize, adapter.limits.maxBufferSize) };
  } catch {
    return null;
  }
}

/** Throws unless two runners give the same for a small block of noise, level by level. */
export async function checkSame(card: Card, one: RunLevel, other: RunLevel): Promise<void> {
  for (const [p, level] of card.levels.entries()) {
    const shape: Triple = [2 * level.stride, 2 * level.stride, 2 * level.stride];
    const half = shape.map((n) => n / 2) as Triple;
    const told: Tensors = {};
    for (const [name, channels] of Object.entries(card.levels[p - 1]?.outputs ?? {})) {
      told[`coarse_${name}`] = { data: noise(channels * product(half)), channels };
    }
    const image = { data: noise(product(shape)), shape };
    const [found, expected] = [await one(p, image, 0.1, told, half), await other(p, image, 0.1, told, half)];
    for (const [name, tensor] of Object.entries(expected)) {
      const off = difference(found[name]!.data, tensor.data);
      if (!(off <= MOST_DIFFERENCE)) throw new Error(`its ${name} of level ${p + 1} differ by ${(100 * off).toPrecision(2)}%`);
    }
  }
}

/** Values from -1 to 1, the same on every call. */
function noise(count: number): Float32Array {
  let seed = 1;
  return Float32Array.from({ length: count }, () => {
    seed = (1103515245 * seed + 12345) % 2 ** 31;
    return seed / 2 ** 30 - 1;
  });
}

/** Largest difference, as a share of the largest expected value; NaN where a value is none. */
export function difference(found: Float32Array, expected: Float32Array): number {
  let [off, most] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    off = Math.max(off, Math.abs(found[i]! - expected[i]!));
    most = Math.max(most, Math.abs(expected[i]!));
  }
  return off / most;
}
