import { HandleTable, sandboxImports } from './sandbox-imports.ts';

const pageBytes = 4096;
const wasmPageBytes = 65_536;

/** The memory of a booted interpreter: the pages that are not zero, and where they stand. Shared between threads. */
export interface MemoryImage {
  readonly byteLength: number;
  readonly pageIndexes: Uint32Array;
  readonly pages: Uint8Array;
}

type Native = (...args: number[]) => number;

const abi = {
  init: 'ruby-init: func(args: list<string>) -> ()',
  evaluate: 'rb-eval-string-protect: func(str: string) -> tuple<handle<rb-abi-value>, s32>',
  errorInfo: 'rb-errinfo: func() -> handle<rb-abi-value>',
  clearErrorInfo: 'rb-clear-errinfo: func() -> ()',
  stringPointer: 'rstring-ptr: func(value: handle<rb-abi-value>) -> string',
  stringDone: 'cabi_post_rstring-ptr',
  drop: 'canonical_abi_drop_rb-abi-value',
  realloc: 'cabi_realloc',
  initialize: '_initialize',
} as const;

/**
 * One instance of CRuby in WebAssembly, with the sandbox as its only surroundings. Driven through the ABI of the
 * `@ruby/*-wasm-wasi` binaries. After any exception from `evaluate` the instance is unusable.
 */
export class Interpreter {
  readonly #memory: WebAssembly.Memory;
  readonly #exports: Readonly<Record<string, unknown>>;
  readonly #handles = new HandleTable();
  readonly #initialPages: readonly number[];

  private constructor(module: WebAssembly.Module, use: 'image' | 'boot') {
    const instance = new WebAssembly.Instance(
      module,
      sandboxImports(module, () => this.#memory, this.#handles),
    );
    this.#exports = instance.exports;
    const memory = instance.exports['memory'];
    if (!isMemory(memory)) throw new Error('the interpreter exports no memory');
    this.#memory = memory;
    this.#initialPages = use === 'boot' ? usedPages(memory) : [];
  }

  /** Starts the interpreter from nothing, about 0.2 s. */
  static boot(module: WebAssembly.Module): Interpreter {
    const interpreter = new Interpreter(module, 'boot');
    interpreter.#native(abi.initialize)();
    interpreter.#initializeRuby(['ruby', '-EUTF-8:UTF-8', '--disable=gems', '-e_=0']);
    return interpreter;
  }

  /**
   * An interpreter in the state of the image. Works because the binary keeps no state outside its memory between two
   * calls: its three globals (stack pointer, two of Asyncify) have their initial values again, its table never changes.
   */
  static restore(module: WebAssembly.Module, image: MemoryImage): Interpreter {
    const interpreter = new Interpreter(module, 'image');
    const memory = interpreter.#memory;
    const missing = image.byteLength - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / wasmPageBytes));
    const target = new Uint8Array(memory.buffer);
    image.pageIndexes.forEach((pageIndex, position) => {
      target.set(
        image.pages.subarray(position * pageBytes, (position + 1) * pageBytes),
        pageIndex * pageBytes,
      );
    });
    interpreter.evaluate('srand; ""');
    return interpreter;
  }

  image(): MemoryImage {
    const memory = new Uint8Array(this.#memory.buffer);
    // With the pages that the binary itself fills: they may have been cleared since, and must be cleared again.
    const used = [...new Set([...this.#initialPages, ...usedPages(this.#memory)])];
    const pageIndexes = new Uint32Array(new SharedArrayBuffer(used.length * 4));
    const pages = new Uint8Array(new SharedArrayBuffer(used.length * pageBytes));
    used.forEach((page, position) => {
      pageIndexes[position] = page;
      pages.set(memory.subarray(page * pageBytes, (page + 1) * pageBytes), position * pageBytes);
    });
    return { byteLength: memory.length, pageIndexes, pages };
  }

  /** Runs Ruby code that never raises and whose value is a string; answers its bytes. */
  evaluate(code: string): Buffer {
    const [pointer, length] = this.#put(Buffer.from(code));
    const result = this.#native(abi.evaluate)(pointer, length);
    const value = this.#handles.remove(this.#uint32(result));
    const status = this.#uint32(result + 4);
    if (status !== 0) {
      const error = this.#handles.remove(this.#native(abi.errorInfo)());
      this.#native(abi.clearErrorInfo)();
      this.#native(abi.drop)(error);
      this.#native(abi.drop)(value);
      throw new Error(`the interpreter stopped with status ${status}`);
    }
    const text = this.#native(abi.stringPointer)(this.#handles.insert(value));
    const start = this.#uint32(text);
    const bytes = Buffer.from(
      new Uint8Array(this.#memory.buffer).slice(start, start + this.#uint32(text + 4)),
    );
    this.#native(abi.stringDone)(text);
    this.#native(abi.drop)(value);
    return bytes;
  }

  #initializeRuby(args: readonly string[]): void {
    const list = this.#native(abi.realloc)(0, 0, 4, args.length * 8);
    args.forEach((arg, index) => {
      const [pointer, length] = this.#put(Buffer.from(`${arg}\0`));
      const view = new DataView(this.#memory.buffer);
      view.setUint32(list + 8 * index, pointer, true);
      view.setUint32(list + 8 * index + 4, length, true);
    });
    this.#native(abi.init)(list, args.length);
  }

  #put(bytes: Uint8Array): readonly [pointer: number, length: number] {
    const pointer = this.#native(abi.realloc)(0, 0, 1, bytes.length);
    new Uint8Array(this.#memory.buffer).set(bytes, pointer);
    return [pointer, bytes.length];
  }

  #uint32(address: number): number {
    return new DataView(this.#memory.buffer).getUint32(address, true);
  }

  #native(name: string): Native {
    const found = this.#exports[name];
    if (!isNative(found)) throw new Error(`the interpreter has no function ${name}`);
    return found;
  }
}

function usedPages(memory: WebAssembly.Memory): number[] {
  const words = new Float64Array(memory.buffer);
  const wordsPerPage = pageBytes / 8;
  const used: number[] = [];
  for (let page = 0; page < words.length / wordsPerPage; page += 1) {
    for (let word = page * wordsPerPage; word < (page + 1) * wordsPerPage; word += 1) {
      // Unlike any other bits, those of minus zero would look like nothing: Object.is tells them apart.
      if (!Object.is(words[word], 0)) {
        used.push(page);
        break;
      }
    }
  }
  return used;
}

function isNative(value: unknown): value is Native {
  return typeof value === 'function';
}

function isMemory(value: unknown): value is WebAssembly.Memory {
  return typeof value === 'object' && value !== null && 'buffer' in value && 'grow' in value;
}

/** A Ruby string literal with exactly this text. */
export function rubyLiteral(text: string): string {
  return JSON.stringify(text.toWellFormed()).replaceAll('#', '\\#');
}
