import { existsSync, lstatSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { pack, type Header } from 'tar-stream';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { everythingBelow, unpack } from './unpack.ts';

let work: string;
let target: string;
let outside: string;

beforeEach(async () => {
  work = mkdtempSync(join(tmpdir(), 'unpack-'));
  [target, outside] = [join(work, 'target'), join(work, 'outside')];
  await mkdir(target);
  await mkdir(outside, { mode: 0o750 });
});
afterEach(() => rmSync(work, { recursive: true, force: true }));

type Member = Partial<Header> & { readonly name: string; readonly content?: string };

async function archiveOf(members: readonly Member[]): Promise<string> {
  const tar = pack();
  for (const { content, ...header } of members) tar.entry(header, content ?? '');
  tar.finalize();
  const path = join(work, 'archive.tgz');
  writeFileSync(path, gzipSync(await buffer(tar)));
  return path;
}

async function unpacked(members: readonly Member[]): Promise<void> {
  await unpack(await archiveOf(members), everythingBelow(target), { root: target });
}

it('makes files, directories and links, without set-id bits', async () => {
  await unpacked([
    { name: './bin/', type: 'directory', mode: 0o700 },
    { name: './bin/run', content: 'run', mode: 0o6755 },
    { name: './bin/same', type: 'link', linkname: './bin/run' },
    { name: './bin/soft', type: 'symlink', linkname: 'run' },
  ]);

  expect(statSync(join(target, 'bin/run')).mode & 0o7777).toBe(0o755);
  expect(statSync(join(target, 'bin')).mode & 0o7777).toBe(0o700);
  expect(readFileSync(join(target, 'bin/same'), 'utf8')).toBe('run');
  expect(lstatSync(join(target, 'bin/soft')).isSymbolicLink()).toBe(true);
});

it.each<[string, (paths: { outside: string }) => readonly Member[], RegExp]>([
  ['an absolute path', () => [{ name: '/etc/evil', content: 'x' }], /is an absolute path/],
  ['a way up', () => [{ name: 'a/../../evil', content: 'x' }], /leads out of the archive/],
  [
    'a member below a link',
    (paths) => [
      { name: 'd', type: 'symlink', linkname: paths.outside },
      { name: 'd/evil', content: 'x' },
    ],
    /writes through the link 'd'/,
  ],
  [
    'a directory in the place of a link',
    (paths) => [
      { name: 'd', type: 'symlink', linkname: paths.outside },
      { name: 'd', type: 'directory', mode: 0o777 },
    ],
    /two members of the same name/,
  ],
  [
    'a file in the place of a link',
    (paths) => [
      { name: 'd', type: 'symlink', linkname: join(paths.outside, 'evil') },
      { name: 'd', content: 'x' },
    ],
    /EEXIST/,
  ],
  [
    'a hard link to what is not in the archive',
    () => [{ name: 'd', type: 'link', linkname: 'etc/passwd' }],
    /no file of the archive/,
  ],
  ['a device', () => [{ name: 'd', type: 'character-device', devmajor: 1, devminor: 3 }], /not allowed/],
  ['a named pipe', () => [{ name: 'd', type: 'fifo' }], /not allowed/],
])('refuses %s, and touches nothing outside', async (_name, members, message) => {
  await expect(unpacked(members({ outside }))).rejects.toThrow(message);

  expect(statSync(outside).mode & 0o777).toBe(0o750);
  expect(existsSync(join(outside, 'evil'))).toBe(false);
});

it.each([true, false])('refuses an archive that was cut short, compressed: %s', async (compressed) => {
  const tar = pack();
  tar.entry({ name: 'some/where/a' }, 'x'.repeat(100_000));
  tar.finalize();
  const bytes = await buffer(tar);
  const path = join(work, 'cut');
  writeFileSync(path, compressed ? gzipSync(bytes).subarray(0, 60) : bytes.subarray(0, 5_000));

  await expect(unpack(path, everythingBelow(target), { root: target })).rejects.toThrow(
    /cannot be read|ends within/,
  );
});

it('refuses an archive that has no room, before it writes', async () => {
  const header = Buffer.alloc(512);
  header.write('huge');
  header.write('0000644\0', 100);
  // 8 PiB: too much for octal digits.
  header.writeUInt8(0x80, 124);
  header.writeUIntBE(2 ** 53 / 2 ** 16, 128, 6);
  header.write('0', 156);
  header.write('ustar\u000000', 257);
  header.fill(' ', 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  const path = join(work, 'huge.tar');
  writeFileSync(path, header);

  await expect(unpack(path, everythingBelow(target), { root: target })).rejects.toThrow(/no room/);
  expect(existsSync(join(target, 'huge'))).toBe(false);
});
