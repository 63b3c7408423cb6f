import { Check } from 'typebox/schema';
import { describe, expect, it } from 'vitest';
import { testdata } from '../../test/support/golden.ts';
import { parseYaml } from '../yaml/parse-yaml.ts';
import { toJson } from '../yaml/yaml-node.ts';
import { manifestJsonSchema } from './json-schema.ts';

const accepts = (kind: 'create-env' | 'micro', text: string) =>
  Check(manifestJsonSchema(kind), toJson(parseYaml(text, { file: 'm' })));

describe('JSON Schema of a manifest', () => {
  it('accepts the director-size manifest as it is written, with its references', () => {
    expect(accepts('create-env', testdata('director/manifest.yml'))).toBe(true);
  });

  it.each([
    ['{name: a, disk_pools: [{name: d, disk_size: ((size))}], tags: ((tags))}', true],
    ['{name: a, disk_pools: [{name: d, disk_size: much}]}', false],
    ['{name: 1.10, tags: ~}', true],
    ['{nmae: a}', false],
    ['{releases: {a: b}}', false],
  ])('%s: %s', (text, wanted) => {
    expect(accepts('create-env', text)).toBe(wanted);
  });

  it('of micro_bosh.yml knows its keys and no references', () => {
    expect(
      accepts(
        'micro',
        '{name: m, cloud: {plugin: aws, properties: {aws: {}}}, resources: {persistent_disk: 1}}',
      ),
    ).toBe(true);
    expect(accepts('micro', '{resources: ((x))}')).toBe(false);
  });
});
