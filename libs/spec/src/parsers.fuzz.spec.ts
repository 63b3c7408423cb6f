import { isOperationalError } from '@microbosh/errors';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { evaluateManifest } from './evaluate-manifest.ts';
import { parseMicroManifest, translateMicroManifest } from './manifest/translate-micro.ts';
import { PathSyntaxError, formatOpPath, parseOpPath, type OpPath, type PathToken } from './ops/op-path.ts';
import { applyOpsFile, parseOpsFile } from './ops/ops-file.ts';
import {
  chooseLegacyDeployment,
  convertLegacyDeployment,
  parseLegacyDeployments,
} from './state/legacy-deployments.ts';
import { readStaticVariables, splitAssignment } from './variables/variable-sources.ts';
import { emitYaml } from './yaml/emit-yaml.ts';
import { parseYaml } from './yaml/parse-yaml.ts';

/** `npm run fuzz` makes many more. */
const effort = Number(process.env['FUZZ'] ?? 1);

/** Every parser answers any input with a result or an error for the operator, and never with a defect. */
function expectNoDefect(action: () => unknown): void {
  try {
    action();
  } catch (error) {
    if (!isOperationalError(error)) throw error;
    expect(error.message).not.toBe('');
  }
}

const words = (...list: string[]) =>
  fc.array(fc.constantFrom(...list), { maxLength: 14 }).map((parts) => parts.join(''));
const opPath = words(
  '/',
  'a',
  'b?',
  '-',
  '0',
  '-1',
  'name=x',
  '=',
  ':',
  ':prev',
  ':before',
  '~0',
  '~1',
  '~7',
  '~',
  '?',
  'é',
);

/** The original shows the mark of the first optional token alone, in errors; such a key reads as something else without. */
function needsMark(token: PathToken): boolean {
  if (token.kind === 'match') return token.value.endsWith('?');
  return token.kind === 'key' && /^[-+]?\d+$|^-$|\?$/.test(token.key);
}

describe('fuzzing', () => {
  it('op paths: what is read is written and read back as the same', () => {
    fc.assert(
      fc.property(opPath, (text) => {
        let path: OpPath;
        try {
          path = parseOpPath(text);
        } catch (error) {
          expect(error).toBeInstanceOf(PathSyntaxError);
          return;
        }
        fc.pre(!path.some(needsMark));
        const again = parseOpPath(formatOpPath(path));
        expect(formatOpPath(again)).toBe(formatOpPath(path));
      }),
      { numRuns: 2000 * effort },
    );
  });

  it('ops files', () => {
    const text = words(
      '- ',
      'type: ',
      'replace',
      'remove',
      'test',
      '\n  ',
      'path: ',
      '/a',
      '/-',
      'value: ',
      '[1]',
      '~',
      'absent: ',
      'true',
      '\n',
      '{',
      '}',
    );
    fc.assert(
      fc.property(text, (ops) => {
        expectNoDefect(() =>
          emitYaml(applyOpsFile(parseYaml('a: [1, {name: x}]', { file: 'm' }), parseOpsFile(ops, 'o.yml'))),
        );
      }),
      { numRuns: 1000 * effort },
    );
  });

  it('documents with references and definitions', async () => {
    const text = words(
      'a: ',
      '((x))',
      '((y.0.b))',
      '((!x))',
      '(( x ))',
      '((',
      '))',
      '\n',
      '  ',
      '- ',
      'variables:\n',
      '- {name: x}\n',
      '- {name: y, options: {a: ((x))}}\n',
      ': ',
      '{',
      '}',
    );
    await fc.assert(
      fc.asyncProperty(
        text,
        fc.constantFrom('x=1', 'x={b: 1}', 'y=[{b: 2}]', 'x=~'),
        async (document, assignment) => {
          try {
            const { text: first } = await evaluateManifest({
              text: document,
              file: 'm',
              variables: { assignments: [assignment] },
              requireAll: false,
            });
            expect(emitYaml(parseYaml(first, { file: 'm' }))).toBe(first);
          } catch (error) {
            if (!isOperationalError(error)) throw error;
          }
        },
      ),
      { numRuns: 1000 * effort },
    );
  });

  it('variable flags', () => {
    const name = words('a', 'b', '.', '/', '=', '"', "'", '[', '{', ':', ' ', '\n', '@', '((x))');
    fc.assert(
      fc.property(fc.array(name, { maxLength: 4 }), name, (assignments, file) => {
        expectNoDefect(() => readStaticVariables({ assignments }));
        expectNoDefect(() => readStaticVariables({ files: [{ file: 'v.yml', text: file }], assignments }));
        expectNoDefect(() => splitAssignment(file, 'path'));
      }),
      { numRuns: 1000 * effort },
    );
  });

  it('micro_bosh.yml', () => {
    const text = words(
      'name: m\n',
      'cloud:\n',
      '  plugin: ',
      'aws',
      'vsphere',
      '\n',
      '  properties: ',
      '{agent: {mbus: "',
      'https://u:p@h"',
      '}}',
      'network: ',
      '~',
      '{vip: 1.2.3.4}',
      'resources:\n',
      '  persistent_disk: ',
      '1',
      '- ',
      'apply_spec: {properties: {x: 1}}\n',
    );
    const options = { file: 'm', manifestDirectory: '/', homeDirectory: '/', stemcell: { url: 'file:///s' } };
    fc.assert(
      fc.property(text, (manifest) => {
        expectNoDefect(() => translateMicroManifest(parseMicroManifest(manifest, 'm'), options));
      }),
      { numRuns: 1000 * effort },
    );
  });

  it('bosh-deployments.yml', () => {
    const text = words(
      '---\n',
      'instances:\n',
      '- ',
      ':id: 1\n',
      '  :vm_cid: ',
      'x',
      '\n',
      '  :disk_cid: ',
      '[',
      ']',
      '~',
      ':',
      '  ',
      'disks: []\n',
    );
    fc.assert(
      fc.property(text, (state) => {
        expectNoDefect(() => {
          const row = chooseLegacyDeployment(parseLegacyDeployments(state, 'f'), 'x', 'f');
          if (row !== undefined) convertLegacyDeployment(row, () => 'id');
        });
      }),
      { numRuns: 1000 * effort },
    );
  });
});
