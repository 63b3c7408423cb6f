import { createHash } from 'node:crypto';
import { gunzipSync, gzipSync } from 'node:zlib';

export interface Tarball {
  readonly bytes: Buffer;
  readonly sha1: string;
}

/** A tar.gz of small files; those that begin with `#!` can be executed. Small enough to need no library. */
export function tarball(files: Readonly<Record<string, string>>): Tarball {
  const blocks: Buffer[] = [];
  for (const [name, text] of Object.entries(files)) {
    const content = Buffer.from(text);
    const header = Buffer.alloc(512);
    const field = (value: string, offset: number) => header.write(value, offset, 'latin1');
    const octal = (value: number, length: number) => `${value.toString(8).padStart(length - 1, '0')}\0`;
    field(`./${name}`, 0);
    field(octal(text.startsWith('#!') ? 0o755 : 0o644, 8), 100);
    field(octal(0, 8), 108);
    field(octal(0, 8), 116);
    field(octal(content.length, 12), 124);
    field(octal(0, 12), 136);
    field(' '.repeat(8), 148);
    field('0', 156);
    field('ustar\u000000', 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    field(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    blocks.push(header, content, Buffer.alloc((512 - (content.length % 512)) % 512));
  }
  const bytes = gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)]));
  return { bytes, sha1: createHash('sha1').update(bytes).digest('hex') };
}

/** Content of the files of a tar.gz, by their path without `./`. */
export function filesOf(bytes: Uint8Array): ReadonlyMap<string, string> {
  const tar = gunzipSync(bytes);
  const files = new Map<string, string>();
  for (let offset = 0; offset + 512 <= tar.length;) {
    const text = (from: number, length: number) =>
      tar.toString('latin1', offset + from, offset + from + length).replace(/\0.*$/s, '');
    const name = text(0, 100);
    if (name === '') break;
    const size = Number.parseInt(text(124, 12).trim() || '0', 8);
    const isFile = ['0', '', '\0'].includes(text(156, 1));
    if (isFile) {
      files.set(name.replace(/^(\.\/)+/, ''), tar.toString('utf8', offset + 512, offset + 512 + size));
    }
    offset += 512 + Math.ceil(size / 512) * 512;
  }
  return files;
}
