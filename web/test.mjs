/** Bundle the tests and run them with Node's own runner: node test.mjs. */

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const here = import.meta.dirname;
const entryPoints = readdirSync(join(here, "test")).filter((name) => name.endsWith(".test.ts")).map((name) => join(here, "test", name));
await build({ entryPoints, bundle: true, platform: "node", format: "esm", outdir: join(here, "build"), outExtension: { ".js": ".mjs" }, logLevel: "error" });
const { status } = spawnSync(process.execPath, ["--test", join(here, "build")], { stdio: "inherit" });
process.exit(status ?? 1);
