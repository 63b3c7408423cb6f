import { getRandomValues } from 'node:crypto';

const badFileDescriptor = 8;
const noSuchSyscall = 52;
const clockEvent = 0;

/** The interpreter asked for something that only the host has. Its state is lost: the instance must be thrown away. */
export class HostRequested extends Error {
  readonly what: string;
  constructor(what: string) {
    super(`the interpreter asked the host for ${what}`);
    this.what = what;
  }
}

/** Handles of Ruby values that the interpreter's ABI passes to the host and back. */
export class HandleTable {
  readonly #values: (number | undefined)[] = [undefined];
  readonly #free: number[] = [];

  insert(value: number): number {
    const handle = this.#free.pop() ?? this.#values.length;
    this.#values[handle] = value;
    return handle;
  }

  get(handle: number): number {
    const value = this.#values[handle];
    if (value === undefined) throw new HostRequested('an unknown handle');
    return value;
  }

  remove(handle: number): number {
    const value = this.get(handle);
    this.#values[handle] = undefined;
    this.#free.push(handle);
    return value;
  }
}

type Imports = Record<string, Record<string, WebAssembly.ImportedFunction>>;

/**
 * Everything that the interpreter can reach outside its own memory: the clock, random bytes and waiting. No file, no
 * environment, no socket; standard output and error lead nowhere; each way to the JavaScript side ends in HostRequested.
 */
export function sandboxImports(
  module: WebAssembly.Module,
  memory: () => WebAssembly.Memory,
  handles: HandleTable,
): Imports {
  const imports: Imports = {};
  for (const { module: from, name } of WebAssembly.Module.imports(module)) {
    const group = (imports[from] ??= {});
    group[name] =
      from === 'wasi_snapshot_preview1'
        ? () => (name.startsWith('fd_') || name.startsWith('path_') ? badFileDescriptor : noSuchSyscall)
        : () => {
            throw new HostRequested('JavaScript');
          };
  }
  Object.assign((imports['canonical_abi'] ??= {}), {
    'resource_new_rb-abi-value': (value: number) => handles.insert(value),
    'resource_get_rb-abi-value': (handle: number) => handles.get(handle),
  });

  const view = () => new DataView(memory().buffer);
  Object.assign((imports['wasi_snapshot_preview1'] ??= {}), {
    environ_sizes_get(count: number, size: number): number {
      view().setUint32(count, 0, true);
      view().setUint32(size, 0, true);
      return 0;
    },
    environ_get: () => 0,
    clock_res_get(_clock: number, result: number): number {
      view().setBigUint64(result, 1_000_000n, true);
      return 0;
    },
    clock_time_get(clock: number, _precision: bigint, result: number): number {
      const nanoseconds = clock === 0 ? BigInt(Date.now()) * 1_000_000n : process.hrtime.bigint();
      view().setBigUint64(result, nanoseconds, true);
      return 0;
    },
    fd_fdstat_get(descriptor: number, result: number): number {
      if (descriptor > 2) return badFileDescriptor;
      const characterDevice = 2;
      view().setUint8(result, characterDevice);
      view().setUint8(result + 1, 0);
      view().setUint16(result + 2, 0, true);
      view().setBigUint64(result + 8, 0xffff_ffffn, true);
      view().setBigUint64(result + 16, 0n, true);
      return 0;
    },
    fd_write(descriptor: number, vectors: number, count: number, result: number): number {
      if (descriptor !== 1 && descriptor !== 2) return badFileDescriptor;
      let total = 0;
      for (let index = 0; index < count; index += 1) total += view().getUint32(vectors + 8 * index + 4, true);
      view().setUint32(result, total, true);
      return 0;
    },
    fd_read(descriptor: number, _vectors: number, _count: number, result: number): number {
      if (descriptor !== 0) return badFileDescriptor;
      view().setUint32(result, 0, true);
      return 0;
    },
    random_get(start: number, length: number): number {
      const bytes = new Uint8Array(memory().buffer, start, length);
      for (let offset = 0; offset < length; offset += 65_536)
        getRandomValues(bytes.subarray(offset, offset + 65_536));
      return 0;
    },
    /** Waits for a clock, the only thing there is to wait for. The thread's owner ends a wait that is too long. */
    poll_oneoff(subscriptions: number, events: number, count: number, result: number): number {
      const data = view();
      let occurred = 0;
      for (let index = 0; index < count; index += 1) {
        const subscription = subscriptions + 48 * index;
        if (data.getUint8(subscription + 8) !== clockEvent) continue;
        const clock = data.getUint32(subscription + 16, true);
        const timeout = data.getBigUint64(subscription + 24, true);
        const isAbsolute = (data.getUint16(subscription + 40, true) & 1) === 1;
        const now = clock === 0 ? BigInt(Date.now()) * 1_000_000n : process.hrtime.bigint();
        const nanoseconds = isAbsolute ? timeout - now : timeout;
        if (nanoseconds > 0n)
          Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(nanoseconds) / 1e6);
        const event = events + 32 * occurred;
        data.setBigUint64(event, data.getBigUint64(subscription, true), true);
        data.setUint16(event + 8, 0, true);
        data.setUint8(event + 10, clockEvent);
        occurred += 1;
      }
      data.setUint32(result, occurred, true);
      return 0;
    },
    proc_exit(): never {
      throw new HostRequested('the end of the process');
    },
  });
  return imports;
}
