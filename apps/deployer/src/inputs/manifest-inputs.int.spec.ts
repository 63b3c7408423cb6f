import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { evaluateInputs } from './manifest-inputs.ts';

const noFlags = { var: [], varFile: [], varsFile: [], varsEnv: [], opsFile: [] };
let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'micro-manifest-'));
});
afterEach(async () => rm(folder, { recursive: true }));

async function evaluate(text: string) {
  const file = join(folder, 'micro_bosh.yml');
  await writeFile(file, text);
  const context = { cwd: folder, env: { SECRET: 'host' }, readStdin: () => Promise.resolve('') };
  const { toJson } = await evaluateInputs(file, { ...noFlags, var: ['word=given'] }, context);
  return toJson();
}

describe('a manifest of micro', () => {
  it('is a template, read by the rules of Ruby, with variables', async () => {
    expect(
      await evaluate('name: <%= "m" * 3 %>\nword: ((word))\nswitch: y\ncloud: {plugin: local}\n'),
    ).toEqual({
      name: 'mmm',
      word: 'given',
      switch: 'y',
      cloud: { plugin: 'local' },
    });
  });

  it('cannot look at the machine that evaluates it', async () => {
    const text = 'name: "<%= ENV.fetch("SECRET", "nothing") %>"\ncloud: {plugin: local}\n';
    expect(await evaluate(text)).toMatchObject({ name: 'nothing' });
    await expect(
      evaluate('name: <%= File.read("/etc/passwd") %>\ncloud: {plugin: local}\n'),
    ).rejects.toThrow();
  });
});
