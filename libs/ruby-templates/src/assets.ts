import { fileURLToPath } from 'node:url';

export interface TemplateAssets {
  /** Ruby as WebAssembly. */
  readonly binary: string;
  /** Ruby source that is evaluated first. */
  readonly prelude: string;
  /** Entry point of the thread. */
  readonly worker: URL;
}

/** Files that the renderer needs beside its modules. The packaged program has this module replaced by its own. */
export function templateAssets(): TemplateAssets {
  return {
    binary: fileURLToPath(import.meta.resolve('@ruby/3.4-wasm-wasi/dist/ruby+stdlib.wasm')),
    prelude: fileURLToPath(new URL('./evaluation.rb', import.meta.url)),
    worker: new URL('./worker.ts', import.meta.url),
  };
}
