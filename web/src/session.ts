/** The levels' graphs in ONNX Runtime Web. */

import * as ort from "onnxruntime-web/wasm";
import type { RunLevel, Tensors } from "./ladder.ts";
import type { Card } from "./types.ts";

export interface RuntimeFiles {
  /** ONNX Runtime's WebAssembly, and the URL of its JavaScript. */
  wasm: ArrayBuffer;
  glue: string;
  /** Graphs, in the order of the card's levels. */
  graphs: ArrayBuffer[];
}

export function prepareRuntime(files: RuntimeFiles, threads: number): void {
  ort.env.wasm.wasmBinary = files.wasm;
  ort.env.wasm.wasmPaths = { mjs: files.glue };
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
}

/** A runner that keeps one level's session at a time: their memory is not needed together. */
export function levelRunner(card: Card, files: RuntimeFiles): RunLevel {
  let open: { level: number; session: ort.InferenceSession } | null = null;
  return async (level, image, logVoxel, above, aboveShape) => {
    if (open?.level !== level) {
      await open?.session.release();
      const session = await ort.InferenceSession.create(new Uint8Array(files.graphs[level]!), {
        executionProviders: ["wasm"],
        enableCpuMemArena: false, // WebAssembly's memory never shrinks
        enableMemPattern: false,
        graphOptimizationLevel: "all",
      });
      open = { level, session };
    }
    const feeds: Record<string, ort.Tensor> = {
      image: new ort.Tensor("float32", image.data, [1, 1, ...image.shape]),
      log_voxel: new ort.Tensor("float32", Float32Array.of(logVoxel), [1]),
    };
    for (const [name, { data, channels }] of Object.entries(above)) {
      feeds[name] = new ort.Tensor("float32", data, [1, channels, ...aboveShape]);
    }
    // what only a next level needs is not copied out of the last one
    const wanted = open.session.outputNames.filter((name) => name !== "features" || level < card.levels.length - 1);
    const found = await open.session.run(feeds, wanted);
    const tensors: Tensors = {};
    for (const [name, tensor] of Object.entries(found)) {
      tensors[name] = { data: tensor.data as Float32Array, channels: tensor.dims[1]! };
    }
    return tensors;
  };
}
