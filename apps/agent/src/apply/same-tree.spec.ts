import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { isSameTree } from './same-tree.ts';

let base: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), 'trees-'));
  for (const tree of ['one', 'other']) {
    mkdirSync(join(base, tree, 'bin'), { recursive: true });
    mkdirSync(join(base, tree, 'packages'));
    writeFileSync(join(base, tree, 'bin', 'ctl'), 'start');
    symlinkSync('ctl', join(base, tree, 'bin', 'link'));
  }
});
afterEach(() => rmSync(base, { recursive: true, force: true }));

const same = () => isSameTree(join(base, 'one'), join(base, 'other'), new Set(['packages']));

it('is the same, whatever lies in what is left out', async () => {
  writeFileSync(join(base, 'other', 'packages', 'x'), '');

  expect(await same()).toBe(true);
});

it.each<[string, (other: string) => void]>([
  ['content', (other) => writeFileSync(join(other, 'bin', 'ctl'), 'stop!')],
  ['a mode', (other) => chmodSync(join(other, 'bin', 'ctl'), 0o700)],
  ['a file more', (other) => writeFileSync(join(other, 'bin', 'more'), '')],
  ['a file less', (other) => rmSync(join(other, 'bin', 'ctl'))],
  [
    'the target of a link',
    (other) => {
      rmSync(join(other, 'bin', 'link'));
      symlinkSync('x', join(other, 'bin', 'link'));
    },
  ],
  ['a tree that is gone', (other) => rmSync(other, { recursive: true })],
])('differs by %s', async (_what, change) => {
  change(join(base, 'other'));

  expect(await same()).toBe(false);
});
