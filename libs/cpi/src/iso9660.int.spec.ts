import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { NodeCommandRunner } from '@microbosh/host';
import { isoImage } from './iso9660.ts';

const runner = new NodeCommandRunner();
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'microbosh-iso-'));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

// The kernel here may not know the file system: another program that does reads it. Guests of the lab mount it.
it.each([0, 1, 2048, 100_000])('is read by others, with a file of %i bytes', async (size) => {
  const content = Buffer.alloc(size, 'settings ');
  const file = join(directory, `${size}.iso`);
  await writeFile(file, isoImage('ENV', content));
  const copy = join(directory, `${size}.copy`);

  const { stdout } = await runner.run(['xorriso', '-indev', file, '-find', '/', '-type', 'f']);
  await runner.run(['xorriso', '-osirrox', 'on', '-indev', file, '-extract', '/ENV', copy]);

  expect(stdout.trim()).toBe("'/ENV'");
  expect((await readFile(copy)).equals(content)).toBe(true);
});

it('refuses a name that level 1 does not know', () => {
  expect(() => isoImage('env.json', Buffer.alloc(0))).toThrow("'env.json' is no name of ISO 9660 level 1");
});
