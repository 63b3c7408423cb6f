import { chmod, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { JsonObject } from '@microbosh/errors';
import { applySpecEvaluationContext } from '@microbosh/ruby-templates';
import type { RenderRequest } from '@microbosh/ruby-templates';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Templates } from './templates.ts';

const secret = 'correct horse battery staple';
let folder: string;
let warnings: string[];
let evaluations = 0;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'templates-'));
  warnings = [];
});

afterEach(async () => {
  await chmod(folder, 0o700);
  await rm(folder, { recursive: true });
});

/** In a run of its own. A number that counts evaluations tells a rendered text from one of the cache. */
async function render(properties: JsonObject, template = 'a template') {
  const templates = new Templates({
    start: async () => ({
      render: async (requests) => requests.map((request) => evaluate(request)),
      close: async () => undefined,
    }),
    cacheDir: join(folder, 'rendered'),
    bootNow: false,
    onWarning: (text) => warnings.push(text),
  });
  try {
    const context = applySpecEvaluationContext('job', { properties });
    const [content] = await templates.render([{ context, template, path: 'job/config.erb' }]);
    return content?.toString() ?? '';
  } finally {
    await templates.close();
  }
}

function evaluate({ context, template }: RenderRequest): Buffer {
  if (template === 'fails') throw new Error('it does not render');
  evaluations += 1;
  return Buffer.from(`${JSON.stringify(context.document)} ${template} ${evaluations}`);
}

async function kept(): Promise<string[]> {
  return (await readdir(join(folder, 'rendered'))).map((name) => join(folder, 'rendered', name));
}

describe('rendered templates', () => {
  it('are taken from the last run for the same template and properties, and rendered for others', async () => {
    const first = await render({ password: secret });

    expect(await render({ password: secret })).toBe(first);
    expect(await render({ password: 'another' })).toContain('another');
    expect(await render({ password: secret }, 'another template')).toContain('another template');
    expect(await kept()).toHaveLength(3);
  });

  it('are kept where nobody reads them: private, and sealed with a key that is made of their inputs', async () => {
    await render({ password: secret });

    const [file = ''] = await kept();
    expect((await stat(file)).mode & 0o777).toBe(0o600);
    expect((await stat(join(folder, 'rendered'))).mode & 0o777).toBe(0o700);
    const content = await readFile(file);
    expect(content.includes(secret)).toBe(false);
    expect(content.includes(Buffer.from(secret).toString('base64').slice(0, 30))).toBe(false);
  });

  it.each([
    ['cut short', (content: Buffer) => content.subarray(0, 20)],
    ['empty', () => Buffer.alloc(0)],
    ['changed', (content: Buffer) => content.fill(1, content.length - 1)],
  ])('are rendered again when what was kept is %s', async (_what, damage) => {
    const first = await render({ password: secret });
    const [file = ''] = await kept();
    await writeFile(file, damage(await readFile(file)));

    const second = await render({ password: secret });

    expect(second).not.toBe(first);
    expect(await render({ password: secret })).toBe(second);
  });

  it('that do not render are not kept', async () => {
    await expect(render({}, 'fails')).rejects.toThrow('it does not render');

    await expect(kept()).rejects.toThrow('ENOENT');
  });

  it('are there also where nothing can be kept, and it is said', async () => {
    await writeFile(join(folder, 'rendered'), 'a file');

    expect(await render({ password: secret })).toContain(secret);
    expect(warnings).toEqual([expect.stringContaining('could not be kept') as string]);
  });
});
