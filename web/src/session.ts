/** The levels' graphs in ONNX Runtime Web. */

// with the files of the build for WebAssembly alone it has no WebGPU, and computes with WebAssembly as well
import * as ort from "onnxruntime-web/jspi";
import type { RunLevel, Tensors } from "./ladder.ts";
import type { Card } from "./types.ts";

export interface RuntimeFiles {
  /** ONNX Runtime's WebAssembly, and the URL of its JavaScript. */
  wasm: ArrayBuffer;
  glue: string;
  /** Graphs, in the order of the card's levels. */
  graphs: ArrayBuffer[];
}

export type Provider = "wasm" | "webgpu";

export interface Runner {
  run: RunLevel;
  /** Give back the session that is open. */
  close: () => Promise<void>;
}

export function prepareRuntime(files: RuntimeFiles, threads: number): void {
  ort.env.wasm.wasmBinary = files.wasm;
  ort.env.wasm.wasmPaths = { mjs: files.glue };
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
}

/** A runner that keeps one level's session at a time: their memory is not needed together. */
export function levelRunner(card: Card, files: RuntimeFiles, provider: Provider): Runner {
  let open: { level: number; session: ort.InferenceSession } | null = null;
  let trouble = "";
  const watched = new WeakSet<GPUDevice>();
  const close = async (): Promise<void> => {
    await open?.session.release();
    open = null;
  };
  /** Errors that ONNX Runtime does not report: a lack of the device's memory gives wrong values. */
  const watch = (device: GPUDevice): void => {
    if (watched.has(device)) return;
    watched.add(device);
    device.addEventListener("uncapturederror", (event) => (trouble ||= event.error.message));
    void device.lost.then(({ reason, message }) => {
      if (reason !== "destroyed") trouble ||= message;
    });
  };
  const run: RunLevel = async (level, image, logVoxel, above, aboveShape) => {
    if (open?.level !== level) {
      await close();
      const session = await ort.InferenceSession.create(new Uint8Array(files.graphs[level]!), {
        executionProviders: [provider],
        enableCpuMemArena: false, // WebAssembly's memory never shrinks
        enableMemPattern: false,
        // beyond "basic", ONNX Runtime Web 1.30.0 fuses a convolution with two LeakyRelu and loses one of them in WebGPU
        graphOptimizationLevel: provider === "webgpu" ? "basic" : "all",
      });
      open = { level, session };
      if (provider === "webgpu") watch((await ort.env.webgpu.device) as GPUDevice);
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
    if (trouble) throw new Error(trouble);
    const tensors: Tensors = {};
    for (const [name, tensor] of Object.entries(found)) {
      tensors[name] = { data: tensor.data as Float32Array, channels: tensor.dims[1]! };
    }
    return tensors;
  };
  return { run, close };
}
