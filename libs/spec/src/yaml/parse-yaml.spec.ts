import fc from 'fast-check';
import { isOperationalError } from '@microbosh/errors';
import { describe, expect, it } from 'vitest';
import { asJson } from '../../test/support/json.ts';
import { emitYaml } from './emit-yaml.ts';
import { parseYaml } from './parse-yaml.ts';
import { childOf, equalNodes, fromJson, positionOf, toJson } from './yaml-node.ts';
import { YamlSyntaxError } from './yaml-errors.ts';

const read = (text: string) => toJson(parseYaml(text, { file: 'm.yml' }));

/** Rows are the table of reference create-env §2.1. */
describe('YAML dialect of create-env', () => {
  it.each([
    ['[y, Y, yes, Yes, YES, on, On, ON, true, True, TRUE]', Array<boolean>(11).fill(true)],
    ['[n, N, no, No, NO, off, Off, OFF, false, False, FALSE]', Array<boolean>(11).fill(false)],
    ['[yEs, oFF, tRUE]', ['yEs', 'oFF', 'tRUE']],
    ['[~, null, Null, NULL]', [null, null, null, null]],
    ['a:\nb: ~', { a: null, b: null }],
    ['[0x1F, 010, 0o10, 0b11, 1_000, -7]', [31, 8, 8, 3, 1000, -7]],
    ['[08, 1.5, 1., .5, 1e10, 1.5e-3]', [8, 1.5, 1, 0.5, 1e10, 0.0015]],
    [
      '[1:30, 2001-01-01, 2001-12-14t21:59:43.10-05:00]',
      ['1:30', '2001-01-01', '2001-12-14t21:59:43.10-05:00'],
    ],
    ['{a: &x {b: 1}, c: {<<: *x, d: 2}, e: *x}', { a: { b: 1 }, c: { b: 1, d: 2 }, e: { b: 1 } }],
    ['{a: 1, a: 2}', { a: 2 }],
    ['a: 1\n---\n{ broken', { a: 1 }],
    ['', null],
  ])('reads %s', (text, wanted) => {
    expect(read(text)).toEqual(wanted);
  });

  it('writes 1.0 as 1, and reads it as an integer from then on', () => {
    expect(emitYaml(parseYaml('a: 1.0\n', { file: 'm' }))).toBe('a: 1\n');
  });

  it('keeps integers that a JavaScript number cannot hold', () => {
    expect(emitYaml(parseYaml('[9007199254740993, 18446744073709551615]', { file: 'm' }))).toBe(
      '- 9007199254740993\n- 18446744073709551615\n',
    );
  });

  it('refuses a key that is no string where the document becomes JSON', () => {
    const node = parseYaml('properties:\n  8080: x\n', { file: 'm.yml' });

    expect(() => toJson(node)).toThrow("m.yml:2:3: Map contains non-string key '8080'");
  });

  it('treats __proto__ as a key like any other', () => {
    const value = read('{__proto__: {polluted: true}}');

    expect(Object.keys(value ?? {})).toEqual(['__proto__']);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });

  it('gives copies for aliases, so that changing one place changes no other', () => {
    const root = parseYaml('a: &x {b: 1}\nc: *x\n', { file: 'm' });

    expect(childOf(root, 'a')).not.toBe(childOf(root, 'c'));
  });

  it('stops a document that aliases blow up', () => {
    const levels = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
    for (let level = 1; level < 9; level += 1) {
      levels.push(
        `a${level}: &a${level} [${Array<string>(10)
          .fill(`*a${level - 1}`)
          .join(', ')}]`,
      );
    }

    expect(() => read(levels.join('\n'))).toThrow('excessive aliasing');
  });

  it.each([
    ['a: [1\nb: 2', 'm.yml:2:'],
    ['a: 1\n b: 2', 'm.yml:2:'],
    ['a: "x', 'm.yml:1:'],
    ['ok: 1\nx: *nothing', 'm.yml:2:5: Unknown anchor'],
    ['a: &a [*a]', 'm.yml:1:9: Anchor'],
    ['x:\n  <<: 1', 'm.yml:2:7: Map merge requires map or sequence of maps'],
    ['? [a]\n: 1', 'm.yml:1:3: Invalid map key'],
    ['a: "x\n\ny"\nb: [\n1,\n2\nc: 1', 'm.yml:7:'],
    ['a: "x\ny"\n z: 1', 'm.yml:3:2:'],
  ])('says where %j is wrong', (text, wanted) => {
    expect(() => read(text)).toThrow(YamlSyntaxError);
    expect(() => read(text)).toThrow(wanted);
  });

  it('refuses duplicate keys in the dialects that do', () => {
    expect(() => parseYaml('a: 1\na: 2', { file: 'release.MF', dialect: 'go-yaml-v3' })).toThrow(
      "release.MF:2:1: Map has the key 'a' twice",
    );
    expect(toJson(parseYaml('c: {<<: {b: 1}, b: 0}', { file: 'x', dialect: 'go-yaml-v3' }))).toEqual({
      c: { b: 0 },
    });
  });

  it('knows the place of every node, also behind lines that lack indentation', () => {
    const text =
      'a: [\n]\nb:\n- c: "x"\n  d: y # comment\ne: "one\n\ntwo"\nf: {g: [\nx,\n y\n], h: 1}\ni: 2\n';
    const root = parseYaml(text, { file: 'm.yml' });
    const item = childOf(root, 'b');
    const first = item?.kind === 'sequence' ? item.items[0] : undefined;

    expect(positionOf(childOf(first, 'c') ?? root)).toEqual({ file: 'm.yml', line: 4, column: 6 });
    expect(positionOf(childOf(first, 'd') ?? root)).toEqual({ file: 'm.yml', line: 5, column: 6 });
    const inner = childOf(childOf(root, 'f'), 'g');
    const items = inner?.kind === 'sequence' ? inner.items : [];
    expect(items.map(positionOf)).toEqual([
      { file: 'm.yml', line: 10, column: 1 },
      { file: 'm.yml', line: 11, column: 2 },
    ]);
    expect(positionOf(childOf(childOf(root, 'f'), 'h') ?? root)).toEqual({
      file: 'm.yml',
      line: 12,
      column: 7,
    });
    expect(positionOf(childOf(root, 'i') ?? root)).toEqual({ file: 'm.yml', line: 13, column: 4 });
  });

  it('keeps blank lines and signs of comments in quoted texts that are not indented', () => {
    expect(read('k: "a # b\n# c\n\nd"\nz: [\n1]')).toEqual({ k: 'a # b # c\nd', z: [1] });
  });
});

const json = fc.jsonValue({ maxDepth: 5 });

describe('YAML properties', () => {
  it('reads back what it wrote', () => {
    fc.assert(
      fc.property(json, (value) => {
        const node = fromJson(asJson(value));

        expect(equalNumbers(toJson(parseYaml(emitYaml(node), { file: 'x' })))).toEqual(
          equalNumbers(toJson(node)),
        );
      }),
      { numRuns: 300 },
    );
  });

  it('writes the same text again after reading it', () => {
    fc.assert(
      fc.property(json, (value) => {
        const text = emitYaml(fromJson(asJson(value)));

        expect(emitYaml(parseYaml(text, { file: 'x' }))).toBe(text);
      }),
      { numRuns: 300 },
    );
  });

  it('answers any text with a document or a syntax error with a position', () => {
    const piece = fc.constantFrom(
      ...[
        'a',
        'b: ',
        '- ',
        '\n',
        '  ',
        '[',
        ']',
        '{',
        '}',
        ',',
        '"',
        "'",
        '|',
        '>',
        '#',
        '&x ',
        '*x',
        '!!int ',
        '<<: ',
        '---\n',
        '1',
        '~',
        '?',
        ':',
        '\t',
        '%',
        '\u0000',
        '\ud800',
      ],
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join('')),
          fc.string(),
        ),
        (text) => {
          for (const dialect of ['go-yaml-v2', 'go-yaml-v3', 'psych'] as const) {
            try {
              const node = parseYaml(text, { file: 'fuzz', dialect });
              expect(equalNodes(node, node) || emitYaml(node).includes('.nan')).toBe(true);
            } catch (error) {
              if (!isOperationalError(error)) throw error;
              expect(error.message).toMatch(/^fuzz:\d+:\d+: /);
            }
          }
        },
      ),
      { numRuns: 1500 },
    );
  });
});

/** -0 is written as -0 and read as the integer 0, as in the original. */
function equalNumbers(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value));
}
