/** DICOM files to NIfTI, with dcm2niix in WebAssembly. */

import createDcm2niix from "dcm2niix";
import { UserError } from "./types.ts";

/** Bytes of the largest series among the files, and what was chosen. */
export async function convertDicom(files: File[], wasm: ArrayBuffer): Promise<{ bytes: Uint8Array; name: string; note: string }> {
  const said: string[] = [];
  const keep = (line: string): void => void said.push(line);
  // its own way to find the WebAssembly fails in a worker made of a blob
  const tool = await createDcm2niix({ wasmBinary: wasm.slice(0), locateFile: (path) => path, print: keep, printErr: keep });
  tool.FS.mkdir("/in");
  tool.FS.mkdir("/out");
  for (const [number, file] of files.entries()) {
    tool.FS.writeFile(`/in/${number}.dcm`, new Uint8Array(await file.arrayBuffer()));
  }
  try {
    tool.callMain(["-o", "/out", "-z", "n", "-b", "n", "-f", "%s_%d", "/in"]);
  } catch {
    // an exit status comes as an exception; what counts is what was written
  }
  const made = tool.FS.readdir("/out").filter((name) => name.endsWith(".nii"));
  if (!made.length) throw new UserError("No scan was found in the DICOM files", "Drop the folder of one 3D series");
  const volumes = made.map((name) => ({ name, bytes: tool.FS.readFile(`/out/${name}`) }));
  volumes.sort((a, b) => b.bytes.length - a.bytes.length);
  const { name, bytes } = volumes[0]!;
  const note = made.length > 1 ? `The files hold ${made.length} series; the largest was taken (${name}).` : "";
  return { bytes, name, note };
}
