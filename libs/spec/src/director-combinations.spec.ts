import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { testdata } from '../test/support/golden.ts';
import { evaluateManifest } from './evaluate-manifest.ts';
import { translateCreateEnvManifest } from './manifest/translate-create-env.ts';
import { applyOpsFile, parseOpsFile } from './ops/ops-file.ts';
import { readVariableDefinitions } from './variables/variable-definitions.ts';
import { emitYaml } from './yaml/emit-yaml.ts';
import { parseYaml } from './yaml/parse-yaml.ts';
import { fromJson, mappingNode, setKey } from './yaml/yaml-node.ts';

/** A director in parts, as operators put it together: a base, one CPI, any of the rest. */
interface Combination {
  readonly names: readonly string[];
  readonly lines: number;
  readonly sha256: string;
}

const combinations = JSON.parse(testdata('combinations/combinations.golden.json')) as Combination[];
const read = (name: string) => ({ file: `${name}.yml`, text: testdata(`combinations/${name}.yml`) });
const base = read('bosh');

/** Variables that the operator gives, by the file that refers to them. */
const given: Readonly<Record<string, readonly string[]>> = {
  bosh: ['internal_cidr=10.0.0.0/24', 'internal_gw=10.0.0.1', 'internal_ip=10.0.0.6', 'director_name=lab'],
  'cpi-openstack': [
    'az=nova',
    'net_id=5d1e',
    'auth_url=https://keystone/v3',
    'openstack_username=u',
    'openstack_password=p',
    'default_key_name=k',
    'default_security_groups=[a, b]',
  ],
  'cpi-local': ['stemcell_file=noble.tgz'],
  'external-ip': ['external_ip=198.51.100.7'],
  'dns-and-ntp': ['internal_dns=[10.0.0.2]', 'internal_ntp=[10.0.0.3]'],
};

/** A value of the right shape for everything that is defined. */
function filledStore(text: string): string {
  const pem = '-----BEGIN CERTIFICATE-----\nMDAw\n-----END CERTIFICATE-----\n';
  const store = mappingNode();
  for (const { name, type } of readVariableDefinitions(parseYaml(text, { file: 'm' }))) {
    const parts: Readonly<Record<string, object>> = {
      certificate: { ca: pem, certificate: pem, private_key: pem },
      ssh: { private_key: pem, public_key: 'ssh-rsa AAAA\n', public_key_fingerprint: '00' },
      rsa: { private_key: pem, public_key: pem },
    };
    setKey(store, name, fromJson((parts[type] as Record<string, string> | undefined) ?? `${name}-value`));
  }
  return emitYaml(store);
}

function afterOps(names: readonly string[]): string {
  let root = parseYaml(base.text, { file: base.file });
  for (const name of names) {
    const { file, text } = read(name);
    root = applyOpsFile(root, parseOpsFile(text, file));
  }
  return emitYaml(root);
}

describe('a director put together from parts', () => {
  it('covers every combination', () => {
    expect(combinations).toHaveLength(96);
    expect(new Set(combinations.map(({ sha256 }) => sha256)).size).toBe(96);
  });

  it.each(combinations.map((combination) => [combination.names.join(' '), combination] as const))(
    '%s',
    async (_name, { names, lines, sha256 }) => {
      const text = afterOps(names);

      // What go-patch and yaml.v2 make of it.
      expect([text.split('\n').length, createHash('sha256').update(text).digest('hex')]).toEqual([
        lines,
        sha256,
      ]);

      const manifest = await evaluateManifest({
        ...base,
        ops: names.map(read),
        variables: { assignments: ['bosh', ...names].flatMap((name) => given[name] ?? []) },
        varsStore: {
          file: 'creds.yml',
          load: () => Promise.resolve(filledStore(text)),
          save: () => Promise.reject(new Error('nothing is to be generated')),
        },
        requireAll: true,
        requireUsed: true,
      });
      expect(manifest.text).not.toContain('((');
      const { model, warnings } = translateCreateEnvManifest(manifest, {
        file: 'bosh.yml',
        manifestDirectory: '/deploy',
        homeDirectory: '/home/op',
      });

      // Said of a subnet and of nothing else: what a one-VM deployment does not use.
      expect(warnings).toEqual([]);
      const jobs = model.group.jobs.map(({ name }) => name);
      expect(
        jobs.includes('uaa') &&
          jobs.indexOf('uaa') === jobs.indexOf('core') - (names.includes('credhub') ? 2 : 1),
      ).toBe(names.includes('uaa'));
      expect(jobs.includes('health')).toBe(!names.includes('health-off'));
      expect(model.cloud).toMatchObject(
        names.includes('cpi-local')
          ? { kind: 'built-in', plugin: 'local' }
          : { kind: 'release', templates: [{ name: 'openstack_cpi', release: 'openstack-cpi' }] },
      );
      expect(Object.keys(model.networks)).toEqual(
        names.includes('external-ip') ? ['default', 'public'] : ['default'],
      );
      expect(model.networks['default']?.dns).toEqual(
        names.includes('dns-and-ntp') ? ['10.0.0.2'] : ['8.8.8.8'],
      );
      expect(model.persistentDisk?.sizeMiB).toBe(65536);
    },
  );
});
