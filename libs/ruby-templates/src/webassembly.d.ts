/** The part of the WebAssembly interface that this library uses; `lib.dom` is not loaded in this workspace. */
declare namespace WebAssembly {
  interface Memory {
    readonly buffer: ArrayBuffer;
    grow(deltaPages: number): number;
  }
  type ImportedFunction = (...args: never[]) => unknown;
  class Module {
    readonly [Symbol.toStringTag]: 'WebAssembly.Module';
    static imports(
      module: Module,
    ): { readonly module: string; readonly name: string; readonly kind: string }[];
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, ImportedFunction>>);
    readonly exports: Readonly<Record<string, unknown>>;
  }
  class RuntimeError extends Error {}
  function compile(bytes: Uint8Array): Promise<Module>;
}
