"""Seconds and memory of brainchop's MeshNet in headless Chromium, with the page's ONNX Runtime Web.

    python benchmarks/browser_meshnet.py FOLDER [--size 256] [--threads N] [--device wasm|webgpu]

FOLDER holds a network of brainchop's as TensorFlow.js stores it: ``model.json`` (or ``model.json.tfjs.bak``) and
``model.bin``. The network is exported to ONNX with the argmax of its logits, and runs on the whole cube at once, as in
brainchop. Its labels of a small head are compared with PyTorch's first. npm's packages must be installed in
``web/`` (``npm ci``). For the page itself: ``pytest -m browser -k real_head tests/commands/test_web_browser.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from lodbrain.commands.web import SOURCE, make_server

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "makers"))
from headless import WEBGPU_FLAGS, RendererMemory, headless_browser, launched
from tiny_model import head

#: A head of ellipsoids that is compared with PyTorch: wider than the largest dilation.
SMALL = (48, 48, 48)
POLICY = "default-src 'self' blob: 'wasm-unsafe-eval'"
PAGE = f"""<!doctype html><meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>MeshNet</title>"""
WORKER = """
import * as ort from "/assets/ort.jspi.min.mjs";
addEventListener("message", async ({ data: { device, threads, shape, values } }) => {
  try {
    const [name, text] = device === "webgpu" ? [".jspi", "basic"] : ["", "all"];
    const file = `/assets/ort-wasm-simd-threaded${name}`;
    ort.env.wasm.wasmPaths = { mjs: `${file}.mjs`, wasm: `${file}.wasm` };
    ort.env.wasm.numThreads = threads;
    const session = await ort.InferenceSession.create("/assets/meshnet.onnx", {
      executionProviders: [device], enableCpuMemArena: false, enableMemPattern: false, graphOptimizationLevel: text,
    });
    const count = shape[0] * shape[1] * shape[2];
    const image = Float32Array.from({ length: count }, (_, i) => (values ? values[i] : (i % 997) / 997));
    const started = performance.now();
    const { labels } = await session.run({ image: new ort.Tensor("float32", image, [1, 1, ...shape]) });
    const seconds = (performance.now() - started) / 1000;
    postMessage({ seconds, labels: values ? Array.from(labels.data, Number) : [] });
  } catch (error) {
    postMessage({ error: String(error.message ?? error) });
  }
});
"""
RUN = """(wish) => new Promise((done) => {
  const worker = new Worker("/assets/worker.js", { type: "module" });
  const end = (message) => { worker.terminate(); done(message); };
  worker.onmessage = ({ data }) => end(data);
  worker.onerror = (event) => end({ error: event.message || "the worker ended" });
  worker.postMessage(wish);
})"""


def main() -> int:
    """Export, compare on a small head, time on a large cube."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=min(8, os.cpu_count() or 1))
    parser.add_argument("--device", choices=["wasm", "webgpu"], default="wasm")
    asked = parser.parse_args()
    layers = read_layers(asked.folder)
    with tempfile.TemporaryDirectory() as folder:
        assets = Path(folder, "assets")
        assets.mkdir()
        Path(folder, "index.html").write_text(PAGE, encoding="utf-8")
        (assets / "worker.js").write_text(WORKER, encoding="utf-8")
        (assets / "meshnet.onnx").write_bytes(graph_of(layers).SerializeToString())
        packages = SOURCE / "node_modules" / "onnxruntime-web" / "dist"
        for name in ("ort.jspi.min.mjs", *(f"ort-wasm-simd-threaded{kind}" for kind in KINDS)):
            shutil.copy(packages / name, assets)
        server = make_server(folder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = WEBGPU_FLAGS if asked.device == "webgpu" else ()
        with headless_browser() as first, launched(first.browser_type, *flags) as browser:
            page = browser.new_page()
            page.set_default_timeout(0)
            page.goto(f"http://127.0.0.1:{server.server_port}/")
            wish = {"device": asked.device, "threads": asked.threads}
            image = head(SMALL).astype(np.float32) / 1000
            found = page.evaluate(RUN, wish | {"shape": SMALL, "values": image.ravel().tolist()})
            if "error" in found:
                print(f"small head: {found['error']}")
                return 1
            expected = labels_of(layers, image)
            differing = np.mean(np.array(found["labels"]) != expected.ravel())
            print(f"small head: {len(np.unique(expected))} labels; {differing:.1e} of the voxels differ from PyTorch's")
            started = time.monotonic()
            with RendererMemory() as memory:
                found = page.evaluate(RUN, wish | {"shape": [asked.size] * 3})
            what = f"{found['seconds']:.1f} s" if "seconds" in found else f"failed: {found['error']}"
            print(
                f"{asked.size}^3, {asked.device}, {asked.threads} threads: {what}; "
                f"{time.monotonic() - started:.1f} s with the session's start; "
                f"{memory.peak_bytes / 1e9:.2f} GB in the tab at the peak; Chromium {browser.version}"
            )
        server.shutdown()
    return 0


KINDS = (".mjs", ".wasm", ".jspi.mjs", ".jspi.wasm")
#: Kernel (O, I, 3, 3, 3) or (O, I, 1, 1, 1), bias (O,), dilation, and whether an ELU follows.
Layer = tuple[np.ndarray, np.ndarray, int, bool]


def read_layers(folder: Path) -> list[Layer]:
    """Return the convolutions of a TensorFlow.js network, in order."""
    backup = folder / "model.json.tfjs.bak"
    spec = json.loads((backup if backup.exists() else folder / "model.json").read_text(encoding="utf-8"))
    raw, at, weights = np.fromfile(folder / "model.bin", "<f4"), 0, {}
    for entry in spec["weightsManifest"][0]["weights"]:
        size = int(np.prod(entry["shape"]))
        weights[entry["name"]] = raw[at : at + size].reshape(entry["shape"])
        at += size
    layers: list[Layer] = []
    for row in spec["modelTopology"]["model_config"]["config"]["layers"]:
        config, kind = row["config"], row["class_name"]
        if kind == "Conv3D":
            kernel = weights[config["name"] + "/kernel"].transpose(4, 3, 0, 1, 2)
            bias = weights[config["name"] + "/bias"]
            layers.append((np.ascontiguousarray(kernel), bias, config["dilation_rate"][0], False))
        elif kind == "Activation":
            if config["activation"] != "elu":
                raise ValueError(f"activation must be elu, got {config['activation']}")
            layers[-1] = (*layers[-1][:3], True)
        elif kind != "InputLayer":
            raise ValueError(f"layer must be Conv3D or Activation, got {kind}")
    return layers


def graph_of(layers: list[Layer]) -> onnx.ModelProto:
    """Return the network as ONNX: ``image`` (1, 1, X, Y, Z) float32 to ``labels`` (1, 1, X, Y, Z) int64."""
    nodes, constants, x = [], [], "image"
    for n, (kernel, bias, dilation, elu) in enumerate(layers):
        constants += [numpy_helper.from_array(kernel, f"kernel_{n}"), numpy_helper.from_array(bias, f"bias_{n}")]
        pad = dilation * (kernel.shape[-1] // 2)
        shape: dict[str, Any] = {"kernel_shape": kernel.shape[2:], "dilations": [dilation] * 3, "pads": [pad] * 6}
        nodes.append(helper.make_node("Conv", [x, f"kernel_{n}", f"bias_{n}"], [f"conv_{n}"], **shape))
        x = f"conv_{n}"
        if elu:
            nodes.append(helper.make_node("Elu", [x], [f"elu_{n}"]))
            x = f"elu_{n}"
    nodes.append(helper.make_node("ArgMax", [x], ["labels"], axis=1, keepdims=1))
    sizes: list[str | int | None] = [1, 1, "X", "Y", "Z"]
    ends = [
        helper.make_tensor_value_info(name, kind, sizes)
        for name, kind in (("image", TensorProto.FLOAT), ("labels", TensorProto.INT64))
    ]
    graph = helper.make_graph(nodes, "meshnet", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def labels_of(layers: list[Layer], image: np.ndarray) -> np.ndarray:
    """Return PyTorch's labels (X, Y, Z) of a cube."""
    x = torch.from_numpy(image)[None, None]
    with torch.inference_mode():
        for kernel, bias, dilation, elu in layers:
            pad = dilation * (kernel.shape[-1] // 2)
            weights = torch.from_numpy(kernel), torch.from_numpy(bias)
            x = torch.nn.functional.conv3d(x, *weights, dilation=dilation, padding=pad)
            x = torch.nn.functional.elu(x) if elu else x
    return x.argmax(1)[0].numpy()


if __name__ == "__main__":
    sys.exit(main())
