/** The package's JavaScript made by Emscripten, without the worker that it wraps it in. */
declare module "dcm2niix" {
  interface Tool {
    FS: {
      mkdir(path: string): void;
      writeFile(path: string, data: Uint8Array): void;
      readFile(path: string): Uint8Array;
      readdir(path: string): string[];
    };
    callMain(words: string[]): number;
  }
  export default function create(options: {
    wasmBinary: ArrayBuffer;
    locateFile(path: string): string;
    print(line: string): void;
    printErr(line: string): void;
  }): Promise<Tool>;
}
