import { describe, expect, it } from 'vitest';
import { canonical, sortPairs } from '../../test/support/canonical.ts';
import { goldenRows, textField } from '../../test/support/golden.ts';
import { emitYaml } from './emit-yaml.ts';
import { parseYaml } from './parse-yaml.ts';
import { YamlSyntaxError } from './yaml-errors.ts';

describe('YAML beside the originals', () => {
  it('reads and writes every document of the golden file as gopkg.in/yaml.v2 does', () => {
    const rows = goldenRows('yaml-v2.golden.json');

    expect(rows.length).toBeGreaterThan(3500);
    for (const row of rows) {
      const input = textField(row, 'input') ?? '';
      if (row['error'] === true) {
        expect(() => parseYaml(input, { file: 'x' }), input).toThrow(YamlSyntaxError);
        continue;
      }
      const node = parseYaml(input, { file: 'x' });
      expect(canonical(node), input).toEqual(sortPairs(row['value']));
      expect(emitYaml(node), input).toBe(textField(row, 'emitted'));
    }
  });

  it('reads every document of the golden file as Psych does', () => {
    const rows = goldenRows('psych.golden.json');

    expect(rows.length).toBeGreaterThan(150);
    for (const row of rows) {
      const input = textField(row, 'input') ?? '';
      if (row['error'] === true) continue;
      const wanted = JSON.stringify(row['value']);
      // Dates and symbols stay text here.
      if (wanted.includes('"other"')) continue;
      expect(normalFloats(canonical(parseYaml(input, { file: 'x', dialect: 'psych' }))), input).toEqual(
        normalFloats(sortPairs(row['value'])),
      );
    }
  });
});

/** Ruby's JSON and Go's text spell the same float in different ways. */
function normalFloats(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  const list: unknown[] = value;
  if (list[0] === 'float') return ['float', Number(String(list[1]).replace('Inf', 'Infinity'))];
  return list.map(normalFloats);
}
