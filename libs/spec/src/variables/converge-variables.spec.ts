import { isJsonObject, type Json, type JsonObject } from '@microbosh/errors';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { evaluateManifest } from '../evaluate-manifest.ts';
import { parseYaml } from '../yaml/parse-yaml.ts';
import { toJson } from '../yaml/yaml-node.ts';
import { checkVariables } from './check-variables.ts';
import { convergeVariables } from './converge-variables.ts';

const now = new Date('2026-03-01T12:00:00Z');
const text = `variables:
- {name: ca, type: certificate, options: {is_ca: true, common_name: ca, key_length: 2048, duration: 400}}
- {name: tls, type: certificate, options: {ca: ca, common_name: x, key_length: 2048, duration: 100}}
- {name: word, type: password}
- {name: other, type: password}
`;
let first: string;
let saved: string | undefined;
let saves = 0;
const store = {
  file: 'creds.yml',
  load: () => Promise.resolve(saved),
  save: (next: string) => {
    saved = next;
    saves += 1;
    return Promise.resolve();
  },
};

function values(of = saved): JsonObject {
  const json = toJson(parseYaml(of ?? '', { file: 'creds.yml' }));
  return isJsonObject(json) ? json : {};
}

function changed(): string[] {
  const [before, after] = [values(first), values()];
  return Object.keys(after).filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]));
}

function part(name: string, key: string): Json {
  const value = values()[name] ?? null;
  return (isJsonObject(value) ? value[key] : undefined) ?? null;
}

const converge = (manifest: string, at = now, assignments: string[] = []) =>
  convergeVariables({
    text: manifest,
    file: 'm.yml',
    varsStore: store,
    now: () => at,
    variables: { assignments },
  });

beforeAll(async () => {
  await evaluateManifest({ text, file: 'm.yml', varsStore: store, now: () => now });
  first = saved ?? '';
});
beforeEach(() => {
  saved = first;
  saves = 0;
});

describe('converging the vars-store', () => {
  it('touches nothing when everything fits', async () => {
    expect(await converge(text)).toEqual({ rotated: [], left: [] });
    expect(saves).toBe(0);
  });

  it('makes again what differs from its options, in one save, and leaves the rest', async () => {
    const { rotated, left } = await converge(
      text
        .replace('word, type: password', 'word, type: password, options: {length: 40}')
        .replace('common_name: x', 'common_name: y'),
    );

    expect([rotated, left]).toEqual([['tls', 'word'], []]);
    expect(changed()).toEqual(['tls', 'word']);
    expect(values()['word']).toHaveLength(40);
    expect(saves).toBe(1);
  });

  it('makes again what expires soon, and with a CA everything that it signs', async () => {
    const soon = await converge(text, new Date('2026-05-20'));
    expect([soon.rotated, changed()]).toEqual([['tls'], ['tls']]);

    saved = first;
    const late = await converge(text, new Date('2027-04-01'));
    expect([late.rotated, late.left]).toEqual([['ca', 'tls'], []]);
    expect(part('tls', 'ca')).toBe(part('ca', 'certificate'));
  });

  it('makes a certificate again whose CA is another one by now', async () => {
    const other = text.replace('common_name: ca,', 'common_name: new,');
    await converge(other.replace('name: tls, ', 'name: tls, update_mode: no-overwrite, '));
    expect(changed()).toEqual(['ca']);

    expect((await converge(other)).rotated).toEqual(['tls']);
    const manifest = await evaluateManifest({ text: other, file: 'm.yml', varsStore: store });
    expect(checkVariables(manifest, { now })).toEqual([]);
  });

  it('makes what is missing', async () => {
    const { rotated } = await converge(`${text}- {name: more, type: password}\n`);

    expect([rotated, changed()]).toEqual([['more'], ['more']]);
  });

  it.each([
    ['overwrite', '', ['word']],
    ['no-overwrite', ', options: {length: 40}', []],
    ['converge', ', options: {length: 40}', ['word']],
    ['converge', '', []],
  ])('obeys update_mode %s with %j', async (mode, options, rotated) => {
    const manifest = text.replace(
      'word, type: password',
      `word, type: password, update_mode: ${mode}${options}`,
    );

    expect((await converge(manifest)).rotated).toEqual(rotated);
  });

  it('leaves to the operator what a flag gives, and what it kept as the definition says', async () => {
    const manifest = text
      .replace(
        'word, type: password',
        'word, type: password, update_mode: no-overwrite, options: {length: 9}',
      )
      .replace('other, type: password', 'other, type: password, update_mode: overwrite');
    const { rotated, left } = await converge(manifest, now, ['other=mine']);

    expect(rotated).toEqual([]);
    expect(left.map(({ name, kind }) => [name, kind])).toEqual([['word', 'options-changed']]);
    expect(saves).toBe(0);
  });

  it('refuses an update_mode that is none, with its place', async () => {
    await expect(
      converge(text.replace('word, type: password', 'word, type: password, update_mode: sometimes')),
    ).rejects.toThrow(
      "m.yml:4:45: update_mode of variable 'word' must be one of converge, overwrite, no-overwrite",
    );
    expect(saves).toBe(0);
  });
});
