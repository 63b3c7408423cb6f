import { spawn } from 'node:child_process';
import { pipeline, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { ArchiveDamaged } from './errors.ts';

const chunkBytes = 1 << 20;

type Compression = 'none' | 'gzip' | 'zstd' | 'xz' | 'bzip2';

const magics: readonly (readonly [Compression, readonly number[]])[] = [
  ['gzip', [0x1f, 0x8b]],
  ['zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['bzip2', [0x42, 0x5a, 0x68]],
];

/**
 * The content of a compressed stream, recognised by its first bytes; what is not compressed passes as it is. gzip and
 * zstd are read here, xz and bzip2 by the machine's programs.
 */
export async function* decompress(input: AsyncIterable<Uint8Array>, name: string): AsyncGenerator<Buffer> {
  const iterator = input[Symbol.asyncIterator]();
  const first = await iterator.next();
  if (first.done === true) return;
  const rest = async function* () {
    try {
      yield first.value;
      for (let next = await iterator.next(); next.done !== true; next = await iterator.next())
        yield next.value;
    } finally {
      await iterator.return?.();
    }
  };
  const compression =
    magics.find(([, magic]) => magic.every((byte, at) => first.value[at] === byte))?.[0] ?? 'none';
  if (compression === 'none') {
    for await (const chunk of rest()) yield Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
    return;
  }
  yield* compression === 'gzip' || compression === 'zstd'
    ? throughZlib(rest(), compression)
    : throughProgram(rest(), compression, name);
}

async function* throughZlib(
  input: AsyncIterable<Uint8Array>,
  compression: 'gzip' | 'zstd',
): AsyncGenerator<Buffer> {
  const transform =
    compression === 'gzip'
      ? createGunzip({ chunkSize: chunkBytes })
      : createZstdDecompress({ chunkSize: chunkBytes });
  // Errors reach the reader through the destroyed transform.
  const output: AsyncIterable<Buffer> = pipeline(
    Readable.from(input, { objectMode: false }),
    transform,
    () => undefined,
  );
  yield* output;
}

async function* throughProgram(
  input: AsyncIterable<Uint8Array>,
  program: 'xz' | 'bzip2',
  name: string,
): AsyncGenerator<Buffer> {
  const child = spawn(program, ['-dc'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.once('error', (error) =>
      reject(
        new ArchiveDamaged(
          `${name} is compressed with ${program}, and this machine has no program '${program}'.`,
          {
            cause: error,
            advice: `Install the package that brings '${program}' (xz-utils or bzip2), or pack the archive with gzip.`,
          },
        ),
      ),
    );
    child.once('close', resolve);
  });
  ended.catch(() => undefined);
  let inputError: unknown;
  pipeline(Readable.from(input, { objectMode: false }), child.stdin, (error) => {
    inputError = error ?? undefined;
  });
  try {
    const output: AsyncIterable<Buffer> = child.stdout;
    yield* output;
    const status = await ended;
    // A program that ends early breaks its input's pipe: its status tells more than that.
    if (status !== 0)
      throw new Error(`${program} ended with ${status === null ? 'a signal' : `status ${status}`}`);
    if (inputError !== undefined) throw inputError;
  } finally {
    child.kill('SIGKILL');
  }
}
