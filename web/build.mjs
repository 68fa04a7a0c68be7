/** Build the page: node build.mjs --model FOLDER --out FOLDER; the model is what `lodbrain models export --onnx` wrote. */

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, extname, join } from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";

const { values } = parseArgs({ options: { model: { type: "string" }, out: { type: "string" } } });
if (!values.model || !values.out) throw new Error("usage: node build.mjs --model FOLDER --out FOLDER");
const here = import.meta.dirname;
const modules = join(here, "node_modules");
const assets = join(values.out, "assets");
rmSync(assets, { recursive: true, force: true });
mkdirSync(assets, { recursive: true });

/** Write a file under a name with its hash: it can be cached for ever. */
function add(name, content) {
  const end = extname(name);
  const hash = createHash("sha256").update(content).digest("hex").slice(0, 12);
  const hashed = `${basename(name, end)}-${hash}${end}`;
  writeFileSync(join(assets, hashed), content);
  return `assets/${hashed}`;
}

async function bundle(entry) {
  const made = await build({
    entryPoints: [join(here, "src", entry)],
    bundle: true, minify: true, format: "esm", target: "es2022", write: false, legalComments: "none",
    conditions: ["onnxruntime-web-use-extern-wasm"],
    alias: { dcm2niix: join(modules, "@niivue/dcm2niix/dist/dcm2niix.jpeg.js") },
    external: ["module", "fs", "path", "url"], // named in branches for Node that a browser never takes
  });
  return made.outputFiles[0].contents;
}

const cards = readdirSync(values.model).filter((name) => name.endsWith(".json"));
if (cards.length !== 1) throw new Error(`${values.model}: one card is expected, there are ${cards.length}`);
const text = readFileSync(join(values.model, cards[0]), "utf8");
const card = JSON.parse(text);
const read = (path) => readFileSync(join(modules, path));
const list = {
  worker: add("worker.js", await bundle("worker.ts")),
  wasm: add("onnxruntime.wasm", read("onnxruntime-web/dist/ort-wasm-simd-threaded.wasm")),
  glue: add("onnxruntime.js", read("onnxruntime-web/dist/ort-wasm-simd-threaded.mjs")),
  gpuWasm: add("onnxruntime-webgpu.wasm", read("onnxruntime-web/dist/ort-wasm-simd-threaded.jspi.wasm")),
  gpuGlue: add("onnxruntime-webgpu.js", read("onnxruntime-web/dist/ort-wasm-simd-threaded.jspi.mjs")),
  dcm2niix: add("dcm2niix.wasm", read("@niivue/dcm2niix/dist/dcm2niix.jpeg.wasm")),
  card: add("card.json", text),
  graphs: card.levels.map((level) => {
    const content = readFileSync(join(values.model, level.file));
    if (createHash("sha256").update(content).digest("hex") !== level.sha256) throw new Error(`${level.file}: not the card's`);
    return add(level.file, content);
  }),
};
const page = readFileSync(join(here, "index.html"), "utf8")
  .replace("@STYLE@", add("style.css", readFileSync(join(here, "src", "style.css"))))
  .replace("@MAIN@", add("main.js", await bundle("main.ts")))
  .replace("@ASSETS@", () => JSON.stringify(list));
writeFileSync(join(values.out, "index.html"), page);
