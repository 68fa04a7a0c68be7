/** The page: loads everything once, forbids further requests, and shows what the worker finds. */

import { findGpu } from "./gpu.ts";
import type { Card, LabelRow } from "./types.ts";
import { Viewer } from "./viewer.ts";
import type { Done, Message, Start } from "./worker.ts";

interface Assets {
  worker: string;
  wasm: string;
  glue: string;
  gpuWasm: string;
  gpuGlue: string;
  dcm2niix: string;
  card: string;
  graphs: string[];
}

/** What the browser gives to workers beyond a few threads is not faster. */
const MOST_THREADS = 8;
/** Nothing may be requested any more. */
const SEALED = "connect-src 'none'; script-src blob: 'wasm-unsafe-eval'; worker-src blob:; img-src data: blob:; style-src 'none'; font-src 'none'; media-src 'none'; frame-src 'none'; object-src 'none'";

const get = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const assets = JSON.parse(get("assets").textContent!) as Assets;
let loaded: Omit<Start, "files" | "note" | "volume"> & { code: Blob };
let viewer: Viewer;
let worker: Worker | null = null;
let shown: Promise<void> = Promise.resolve();

function enter(state: "loading" | "empty" | "choosing" | "computing" | "done" | "error"): void {
  document.body.dataset["state"] = state;
}

function fail(text: string): void {
  get("error").textContent = text;
  enter("error");
}

async function load(): Promise<void> {
  if (!globalThis.isSecureContext) throw new Error("it came without HTTPS");
  const bytes = async (url: string): Promise<ArrayBuffer> => {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`);
    return response.arrayBuffer();
  };
  const gigabytes = (navigator as { deviceMemory?: number }).deviceMemory;
  const device = new URLSearchParams(location.search).get("device");
  const gpu = device === "wasm" ? null : await findGpu(device === "webgpu");
  const runtime = gpu ? [assets.gpuWasm, assets.gpuGlue] : [assets.wasm, assets.glue];
  const [code, wasm, glue, dcm2niix, card, ...graphs] = await Promise.all(
    [assets.worker, ...runtime, assets.dcm2niix, assets.card, ...assets.graphs].map(bytes),
  ) as [ArrayBuffer, ArrayBuffer, ArrayBuffer, ArrayBuffer, ArrayBuffer, ...ArrayBuffer[]];
  const script = (content: ArrayBuffer): Blob => new Blob([content], { type: "text/javascript" });
  const threads = globalThis.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1;
  loaded = {
    card: JSON.parse(new TextDecoder().decode(card)) as Card,
    runtime: { wasm, glue: URL.createObjectURL(script(glue)), graphs },
    dcm2niix,
    threads,
    memoryBytes: gigabytes === undefined ? null : 1e9 * gigabytes,
    gpu,
    code: script(code),
  };
  if (!document.createElement("canvas").getContext("webgl2")) throw new Error("WebGL 2 is missing");
  viewer = new Viewer(loaded.card, get<HTMLCanvasElement>("canvas"), tell);
  const seal = document.createElement("meta");
  seal.httpEquiv = "Content-Security-Policy";
  seal.content = SEALED;
  document.head.append(seal);
  describe();
}

/** The line about model and device below the page. */
function describe(): void {
  const { card: { name, version, weights_sha256: sha }, gpu, threads } = loaded;
  get("about").textContent =
    `lodbrain ${version}, model ${name} (SHA-256 ${sha.slice(0, 12)}…). ` +
    (gpu ? `WebGPU (${gpu.name}). ` : "WebAssembly. ") +
    (threads > 1 ? `${threads} threads.` : "One thread: the server does not send the headers that threads need.");
}

function begin(files: File[]): void {
  if (files.length && document.body.dataset["state"] !== "computing") compute({ files, volume: null, note: "", gpu: loaded.gpu });
}

type Wish = Pick<Start, "files" | "volume" | "note" | "gpu">;

function compute(wish: Wish): void {
  get("error").textContent = "";
  progress(0, "Reading");
  enter("computing");
  get("view").classList.add("away");
  get("cancel").focus();
  const url = URL.createObjectURL(loaded.code); // of the sealed page, whose policy the worker inherits
  const own = new Worker(url, { type: "module" });
  worker = own;
  // messages of a computation that has been cancelled may still arrive
  own.addEventListener("message", ({ data }: MessageEvent<Message>) => {
    if (own !== worker) return;
    if (data.kind === "without-gpu") withoutGpu(data.text);
    else if (data.kind === "volumes") choose(wish, data.text, data.count);
    else void receive(data);
  });
  const withoutGpu = (why: string): void => {
    stop();
    loaded.gpu = null; // for further scans as well
    describe();
    compute({ ...wish, gpu: null, note: `WebGPU failed (${why.replace(/\.$/, "")}); computed with WebAssembly.` });
  };
  own.addEventListener("error", (event) => {
    if (own !== worker) return;
    if (wish.gpu) return withoutGpu(event.message || "the computation ended");
    stop();
    fail(`The computation ended: ${event.message || "the browser's memory may not be enough for this scan"}.`);
  });
  const { code: _, ...rest } = loaded;
  own.postMessage({ ...rest, ...wish } satisfies Start);
}

/** Ask for one of the volumes of a 4D file, numbered as by the command line. */
function choose(wish: Wish, text: string, count: number): void {
  stop();
  get("volume-text").textContent = text;
  const number = get<HTMLInputElement>("volume-number");
  number.max = String(count - 1);
  number.value = "0";
  get("volume-go").onclick = () => {
    if (number.reportValidity()) compute({ ...wish, volume: number.valueAsNumber });
  };
  enter("choosing");
  number.focus();
}

async function receive(message: Exclude<Message, { kind: "without-gpu" | "volumes" }>): Promise<void> {
  if (message.kind === "progress") return progress(message.share, message.text);
  if (message.kind === "error") {
    stop();
    return fail(message.text);
  }
  if (message.kind === "scan") {
    document.title = `${message.name} · lodbrain`;
    get("view").classList.remove("away");
    get("where").textContent = message.name;
    // one after the other: a computation that was cancelled may have begun to show its scan
    shown = shown.catch(() => undefined).then(() => viewer.showScan(message.image));
    shown.catch(() => undefined); // told when the labels are shown
    return;
  }
  stop();
  try {
    await shown;
    await viewer.showLabels(message.labels);
    show(message);
  } catch (error) {
    fail(`The result cannot be shown: ${(error as Error).message}`);
  }
}

function stop(): void {
  worker?.terminate(); // and with it its memory, which WebAssembly never gives back
  worker = null;
}

function progress(share: number, text: string): void {
  get<HTMLProgressElement>("bar").value = share;
  get("status").textContent = `${text} …`;
}

function show(done: Done): void {
  const byIndex = new Map(loaded.card.labels.map((label) => [label.index, label]));
  get("interval").textContent = `${Math.round(100 * loaded.card.levels[0]!.coverage)}% interval, ml`;
  get("rows").replaceChildren(
    ...done.rows.map((row) => {
      const line = document.createElement("tr");
      const head = document.createElement("th");
      head.scope = "row";
      const place = row.index === null ? undefined : done.places[row.index];
      const label = row.index === null ? undefined : byIndex.get(row.index);
      if (place) {
        const button = document.createElement("button");
        button.type = "button";
        button.dataset["index"] = String(row.index);
        button.append(...named(label!));
        button.addEventListener("click", () => viewer.go(place));
        head.append(button);
      } else {
        head.append(...(label ? named(label) : [row.name]));
      }
      const cell = (text: string): HTMLElement => {
        const made = document.createElement("td");
        made.textContent = text;
        return made;
      };
      const ml = (mm3: number): string => (mm3 / 1000).toFixed(2);
      const interval = row.lowMm3 === null || row.highMm3 === null ? "" : `${ml(row.lowMm3)} – ${ml(row.highMm3)}`;
      line.append(head, cell(ml(row.volumeMm3)), cell(interval));
      return line;
    }),
  );
  get("notes").replaceChildren(
    ...done.notes.map((note) => Object.assign(document.createElement("li"), { textContent: note })),
  );
  get("summary").textContent = `Done in ${done.seconds.toFixed(0)} s.`;
  const stem = document.title.split(" · ")[0]!.replace(/\.(nii|mgz|mgh)(\.gz)?$/i, "");
  offer("save-labels", new Blob([done.labelsGz]), `${stem}_dseg.nii.gz`);
  offer("save-tsv", new Blob([done.tsv]), `${stem}_volumes.tsv`);
  offer("save-json", new Blob([done.record]), `${stem}_dseg.json`);
  enter("done");
  const first = done.places[16] ?? Object.values(done.places)[0];
  if (first) viewer.go(first);
  get("save-labels").focus({ preventScroll: true });
}

function named(label: LabelRow): Node[] {
  const swatch = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  swatch.setAttribute("class", "swatch");
  swatch.setAttribute("aria-hidden", "true");
  const square = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  square.setAttribute("width", "100%");
  square.setAttribute("height", "100%");
  square.setAttribute("fill", `rgb(${label.color.join(" ")})`);
  swatch.append(square);
  return [swatch, document.createTextNode(label.name.replaceAll("-", " "))];
}

function tell(index: number, mm: number[]): void {
  if (document.body.dataset["state"] !== "done") return;
  const label = loaded.card.labels.find((row) => row.index === index);
  const words = label && label.index ? label.name.replaceAll("-", " ") : "No structure";
  get("where").textContent = `${words} (${mm.map((value) => value.toFixed(1)).join(", ")} mm)`;
  get("where").dataset["index"] = String(index);
}

function offer(id: string, blob: Blob, name: string): void {
  const link = get<HTMLAnchorElement>(id);
  if (link.href) URL.revokeObjectURL(link.href);
  link.href = URL.createObjectURL(blob);
  link.download = name;
}

/** All files of what was dropped, folders included. */
async function dropped(items: DataTransferItemList): Promise<File[]> {
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const walk = async (entry: FileSystemEntry): Promise<File[]> => {
    if (entry.isFile) return [await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed))];
    const reader = (entry as FileSystemDirectoryEntry).createReader();
    const found: File[] = [];
    for (;;) {
      const part = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
      if (!part.length) return found;
      for (const inner of part) found.push(...(await walk(inner)));
    }
  };
  return (await Promise.all(entries.map(walk))).flat().filter((file) => !file.name.startsWith("."));
}

function connect(): void {
  const drop = get("drop");
  for (const [button, input] of [["choose", "file"], ["choose-folder", "folder"]] as const) {
    get(button).addEventListener("click", () => get<HTMLInputElement>(input).click());
    get<HTMLButtonElement>(button).disabled = false;
    get<HTMLInputElement>(input).addEventListener("change", (event) => {
      const field = event.target as HTMLInputElement;
      const files = [...(field.files ?? [])];
      field.value = "";
      begin(files);
    });
  }
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  document.addEventListener("dragleave", () => drop.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    if (event.dataTransfer) dropped(event.dataTransfer.items).then(begin, () => fail("The dropped files cannot be read."));
  });
  get("cancel").addEventListener("click", () => {
    stop();
    reset();
  });
  get("again").addEventListener("click", reset);
  get("opacity").addEventListener("input", (event) => viewer.setOpacity(Number((event.target as HTMLInputElement).value) / 100));
}

function reset(): void {
  document.title = "lodbrain in the browser";
  enter("empty");
  get("choose").focus();
}

load().then(
  () => {
    connect();
    enter("empty");
  },
  (error: Error) => fail(`The page could not be loaded: ${error.message}. It needs a current browser with WebAssembly and WebGL 2.`),
);
