import fc from 'fast-check';
import { OperationalError, messageChain } from '@microbosh/errors';
import { describe, expect, it } from 'vitest';
import { evaluateManifest, type EvaluateManifestInput } from '../evaluate-manifest.ts';
import { emitYaml } from '../yaml/emit-yaml.ts';
import { asJson } from '../../test/support/json.ts';
import { fromJson } from '../yaml/yaml-node.ts';
import { VariablesUnresolved } from './variable-errors.ts';

const evaluate = (text: string, more: Partial<EvaluateManifestInput> = {}) =>
  evaluateManifest({ text, file: 'm.yml', ...more });

const interpolate = async (text: string, assignments: readonly string[], requireAll = false) =>
  (await evaluate(text, { variables: { assignments }, requireAll })).text;

function memoryStore(text?: string) {
  const saved: string[] = [];
  return {
    saved,
    file: 'creds.yml',
    load: () => Promise.resolve(saved.at(-1) ?? text),
    save: async (next: string) => void saved.push(next),
  };
}

/** Rows are the rules of reference create-env §3.1. */
describe('references', () => {
  it.each([
    [
      'a whole scalar gets the value with its type',
      'a: ((x))',
      ['x={b: [1, yes]}'],
      'a:\n  b:\n  - 1\n  - true\n',
    ],
    ['a null value is a value', 'a: ((x))', ['x=~'], 'a: null\n'],
    ['an exclamation mark is dropped', 'a: ((!x))', ['x=1'], 'a: 1\n'],
    ['spaces are allowed around a whole reference', 'a: (( x ))', ['x=1'], 'a: 1\n'],
    ['a spaced reference inside a text stays', 'a: p-(( x ))', ['x=1'], 'a: p-(( x ))\n'],
    ['a text takes strings and integers', 'a: ((x))-((!y))-((x))', ['x=1', 'y=z'], 'a: 1-z-1\n'],
    ['keys are interpolated', '((k)): {((k))x: 1}', ['k=a'], 'a:\n  ax: 1\n'],
    ['a sub key is looked up', 'a: ((x.b.c))', ['x={b: {c: 7}}'], 'a: 7\n'],
    ['a numeric segment is an index', 'a: ((x.1))', ['x=[5, 6]'], 'a: 6\n'],
    ['numeric segments are keys when indexes fail', 'a: ((x.1.2))', ['x={"1": {"2": z}}'], 'a: z\n'],
    ['a slash after the first dot splits too', 'a: ((x.b/c))', ['x={b: {c: 7}}'], 'a: 7\n'],
    ['a leading slash is part of the name', 'a: ((/p/q))', ['/p/q=1'], 'a: 1\n'],
    ['letters of any script are allowed', 'a: ((größe))', ['größe=3'], 'a: 3\n'],
    ['other characters make it plain text', 'a: ((a b)) ((a:b)) ((a=b))', [], 'a: ((a b)) ((a:b)) ((a=b))\n'],
    ['a missing variable stays as text', 'a: ((x))-((y))', ['x=1'], 'a: 1-((y))\n'],
    ['a value that was put in is not scanned again', 'a: ((x))((y))', ['x=((y))', 'y=2'], 'a: ((y))2\n'],
    ['an integer beyond 2^53 stays exact', 'a: v((x))', ['x=9007199254740993'], 'a: v9007199254740993\n'],
  ])('%s', async (_rule, text, assignments, wanted) => {
    expect(await interpolate(text, assignments)).toBe(wanted);
  });

  it.each([
    ['float64', '1.5'],
    ['bool', 'yes'],
    ['<nil>', '~'],
    ['map[interface {}]interface {}', '{a: b}'],
    ['[]interface {}', '[a]'],
  ])('a text does not take a %s', async (type, value) => {
    await expect(interpolate('a: x((v))', [`v=${value}`])).rejects.toThrow(
      `m.yml:1:4: Invalid type '${type}' for the value of variable 'v'. ` +
        'Supported types for interpolation within a string are integers and strings.',
    );
  });

  it('a missing sub key is fatal and says what there is, not the value', async () => {
    await expect(interpolate('a: ((x.b))', ['x={c: secret-value}'])).rejects.toThrow(
      "m.yml:1:4: Finding variable 'x.b': Expected to find a map key 'b' for path '/b' (found map keys: 'c')",
    );
  });

  it('reports every missing variable once, sorted, with its first place', async () => {
    const failure = await interpolate('b: ((z))\na: [((y.k)), "((z))"]\n', [], true).catch(
      (error: unknown) => error,
    );

    expect(failure).toBeInstanceOf(VariablesUnresolved);
    expect(String(failure)).toContain('Expected to find variables:\n  - y (m.yml:2:5)\n  - z (m.yml:1:4)');
  });

  it('reports variables that nothing uses together with the missing ones', async () => {
    const failure = evaluate('a: ((x))', {
      variables: { assignments: ['n=1', 'm=2'] },
      varsStore: memoryStore('stored: 1\n'),
      requireUsed: true,
    });

    await expect(failure).rejects.toThrow(
      'Expected to find variables:\n  - x (m.yml:1:4)\nExpected to use variables:\n  - m\n  - n\n  - stored',
    );
  });

  it('replaces a whole reference by exactly the value, whatever it is', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ maxDepth: 4 }), async (value) => {
        const node = fromJson(asJson(value));
        const vars = `v:\n${emitYaml(node).replace(/^/gm, '  ')}`;
        const files = [
          { file: 'vars.yml', text: node.kind === 'scalar' ? `v: ${JSON.stringify(node.value)}` : vars },
        ];

        const { root } = await evaluate('((v))', { variables: { files } });

        expect(emitYaml(root)).toBe(emitYaml(node));
      }),
      { numRuns: 150 },
    );
  });
});

/** Rows are the rules of reference create-env §3.2. */
describe('variable sources', () => {
  it('a later kind of flag beats an earlier one, and a static value beats the store', async () => {
    const { text } = await evaluate('{e: ((e)), f: ((f)), c: ((c)), v: ((v)), s: ((s))}', {
      variables: {
        prefixes: ['P'],
        environment: { P_e: 'env', P_f: 'env', P_c: 'env', P_v: 'env', Q_e: 'no' },
        files: [
          { file: '1.yml', text: 'f: old\nc: file\nv: file\n' },
          { file: '2.yml', text: 'f: file\n' },
        ],
        contents: [
          { name: 'c', file: 'c.txt', text: 'content\n' },
          { name: 'v', file: 'v.txt', text: 'content' },
        ],
        assignments: ['v=old', 'v=value'],
      },
      varsStore: memoryStore('v: store\ns: store\n'),
    });

    expect(text).toBe('c: |\n  content\ne: env\nf: file\ns: store\nv: value\n');
  });

  it.each([
    ['v=1', '1'],
    ['v="1"', '"1"'],
    ["v='a b'", 'a b'],
    ['v=[a, b]', '- a\n- b'],
    ['v=a=b', 'a=b'],
    ['v=a: b', 'a: b'],
    ['v=text # no comment', "'text # no comment'"],
    ['v="a\\nb"', 'a\\nb'],
    ['v=line 1\nline 2', '|-\n  line 1\n  line 2'],
  ])('--var %j', async (assignment, wanted) => {
    const text = await interpolate('((v))', [assignment]);

    expect(text.trimEnd()).toBe(wanted);
  });

  it.each([
    ['x', "Expected var 'x' to be in format 'name=value'"],
    ['=x', "Expected var '=x' to specify non-empty name"],
    ['x=', "Expected var 'x=' to specify non-empty value"],
    ['x=@y', "Deserializing variables 'x=…'"],
    ['x=[', "Deserializing variables 'x=…'"],
  ])('--var %s is refused', async (assignment, wanted) => {
    await expect(interpolate('a', [assignment])).rejects.toThrow(wanted);
  });

  it.each([
    [{ prefixes: [''] }, 'Expected environment variable prefix to be non-empty'],
    [
      { prefixes: ['P'], environment: { P_x: '[secret' } },
      "Deserializing YAML from environment variable 'P_x'",
    ],
    [{ files: [{ file: 'v.yml', text: '[' }] }, "Deserializing variables file 'v.yml'"],
    [
      { files: [{ file: 'v.yml', text: '- a' }] },
      "v.yml:1:1: Deserializing variables file 'v.yml': not a map",
    ],
  ])('%j is refused', async (variables, wanted) => {
    const failure: unknown = await evaluate('a', { variables }).catch((error: unknown) => error);

    expect(String(failure)).toContain(wanted);
    expect(String(failure)).not.toContain('secret');
  });

  it.each([
    { variables: { assignments: ['x=[hunter2'] } },
    { variables: { assignments: ['x=*hunter2'] } },
    { variables: { assignments: ['x=!!int hunter2'] } },
    { variables: { files: [{ file: 'v.yml', text: 'x: [hunter2\ny: "hunter2' }] } },
    { variables: { prefixes: ['P'], environment: { P_x: '{hunter2' } } },
    { varsStore: memoryStore('x: "hunter2\n') },
    { variables: { assignments: ['x={k: hunter2}'] }, text: 'a: p-((x))' },
    { variables: { assignments: ['x={k: hunter2}'] }, text: 'a: ((x.z))' },
  ])(
    'no value appears in an error or its causes: %j',
    async ({ text, ...input }: Partial<EvaluateManifestInput>) => {
      const failure: unknown = await evaluate(text ?? 'a: 1', input).catch((error: unknown) => error);

      expect(failure).toBeInstanceOf(OperationalError);
      expect(messageChain(failure).join()).not.toContain('hunter2');
      expect(JSON.stringify(failure)).not.toContain('hunter2');
    },
  );

  it('names with dots build maps, at any depth and together with a map of that name', async () => {
    const text = await interpolate('((a))', ['a={z: 0}', 'a.b=1', 'a.c.d=2', 'a.c.e=3']);

    expect(text).toBe('b: 1\nc:\n  d: 2\n  e: 3\nz: 0\n');
  });

  it('a name with dots below a scalar is refused instead of lost', async () => {
    await expect(interpolate('((a))', ['a=1', 'a.b=2'])).rejects.toThrow("Variable 'a.b' needs a map");
  });
});

/** Rows are the rules of reference create-env §3.3 and §3.4. */
describe('the variables section', () => {
  it('generates typed variables in list order, stores each at once and removes their definitions', async () => {
    const store = memoryStore('kept: 1\n');
    const result = await evaluate(
      'a: ((p))\nvariables:\n- {name: p, type: password, options: {length: 5}}\n- {name: q, type: password}\n- {name: doc}\n',
      { varsStore: store, requireAll: false },
    );

    expect(result.generated).toEqual(['p', 'q']);
    expect(store.saved).toHaveLength(2);
    expect(store.saved[0]).toMatch(/^kept: 1\np: [a-z0-9"]{5,7}\n$/);
    expect(result.text).toMatch(/^a: \S+\nvariables:\n- name: doc\n$/);
  });

  it('never generates a value that is there', async () => {
    const store = memoryStore('p: mine\n');
    const result = await evaluate('a: ((p))\nvariables: [{name: p, type: password}]\n', { varsStore: store });

    expect(result.text).toBe('a: mine\nvariables: []\n');
    expect(store.saved).toEqual([]);
  });

  it('generates nothing for a value from a static source', async () => {
    const store = memoryStore();
    const result = await evaluate('a: ((p))\nvariables: [{name: p, type: password}]\n', {
      varsStore: store,
      variables: { assignments: ['p=given'] },
    });

    expect(result.text).toBe('a: given\nvariables: []\n');
    expect(store.saved).toEqual([]);
  });

  it('generates nothing without a store', async () => {
    await expect(evaluate('variables: [{name: p, type: password}]\n')).rejects.toThrow('- p (m.yml:1:13)');
  });

  it('reports a definition without a value although nothing refers to it', async () => {
    await expect(evaluate('variables:\n- name: doc\n', { varsStore: memoryStore() })).rejects.toThrow(
      '- doc (m.yml:2:3)',
    );
  });

  it('resolves references in options, generating what they need first', async () => {
    const store = memoryStore();
    const result = await evaluate(
      'variables:\n- {name: u, type: user, options: {username: ((p))}}\n- {name: p, type: password}\n',
      { varsStore: store },
    );

    expect(result.generated).toEqual(['p', 'u']);
  });

  it('reports the variable that the options miss, and not the one they belong to', async () => {
    const failure: unknown = await evaluate(
      'variables: [{name: u, type: user, options: {username: ((n))}}]\n',
      {
        varsStore: memoryStore(),
      },
    ).catch((error: unknown) => error);

    expect(failure).toMatchObject({ missing: [{ name: 'n' }] });
  });

  it.each([
    ['[{name: a, type: user, options: {username: ((a))}}]', 'Detected recursion'],
    [
      '[{name: a, type: user, options: {username: ((b))}}, {name: b, type: user, options: {username: ((a))}}]',
      'Detected recursion',
    ],
    ['[{name: a, type: nothing}]', "Generating variable 'a': Unsupported value type: nothing"],
    [
      '[{name: a, type: password, options: {size: 3}}]',
      "Failed to generate password, parameters are invalid: Unsupported parameter 'size'",
    ],
    ['[{name: a, type: password, options: {length: -1}}]', 'Failed to generate password'],
    ['[{name: a, type: certificate}]', 'Missing required CA name'],
    [
      '[{name: a, type: certificate, options: {ca: nobody}}]',
      "Expected to find variable 'nobody' with a certificate",
    ],
    ['[{name: a, type: certificate, options: {is_ca: true, key_length: 1024}}]', 'Invalid key_length: 1024'],
    [
      '[{name: a, type: certificate, options: {ca: b, extended_key_usage: [x]}}]',
      'Unsupported extended key usage value: x',
    ],
    ['{a: b}', 'm.yml:1:12: variables must be a list'],
    ['[1]', 'm.yml:1:13: A variable definition must be a map'],
  ])('refuses %s', async (section, wanted) => {
    await expect(evaluate(`variables: ${section}\n`, { varsStore: memoryStore() })).rejects.toThrow(wanted);
  });

  it('refuses a name that is defined twice', async () => {
    await expect(
      evaluate('variables: [{name: p, type: password}, {name: p, type: password}]\n', {
        varsStore: memoryStore(),
      }),
    ).rejects.toThrow(
      "Expected to find exactly one matching array item for path '/variables/name=p' but found 2",
    );
  });

  it.each([
    ['[', "Deserializing variables file store 'creds.yml'"],
    ['- a\n', "Deserializing variables file store 'creds.yml': not a map"],
  ])('refuses a store that holds %j and leaves it alone', async (text, wanted) => {
    const store = memoryStore(text);

    await expect(evaluate('a: 1', { varsStore: store })).rejects.toThrow(wanted);
    expect(store.saved).toEqual([]);
  });
});

describe('the hash of a manifest', () => {
  const hash = async (text: string, more: Partial<EvaluateManifestInput> = {}) =>
    (await evaluate(text, more)).manifestSha;

  it('is the SHA-512 of the bytes that create-env writes', async () => {
    // printf 'a: 1\nb:\n- x\n' | sha512sum
    expect(await hash('b: [x] # comment\na: 1.0\n')).toBe(
      '51fa791ef1c0f8cffe1100220c69732e7870a88066a9c838706889c7941a693198d3f9771899c422808322501963a4da3061911a166c54a653047a899738b870',
    );
  });

  it('does not see comments, key order, anchors and definitions of found variables, and sees any value', async () => {
    const one = await hash('a: &x 1\nb: *x\nvariables: [{name: p, type: password}]\n', {
      varsStore: memoryStore('p: 1\n'),
    });

    expect(await hash('# other\nvariables: []\nb: 1\na: 1\n')).toBe(one);
    expect(await hash('variables: []\nb: 1\na: 2\n')).not.toBe(one);
  });
});
