import { isJsonObject, isOperationalError } from '@microbosh/errors';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { directorInput, filledDirectorStore } from '../test/support/director.ts';
import { adaptMicroApplySpec } from './adapt-micro-spec.ts';
import { parseJobManifest } from './artifacts/job-manifest.ts';
import { parseReleaseManifest } from './artifacts/release-manifest.ts';
import { parseStemcellManifest } from './artifacts/stemcell-manifest.ts';
import { parseDigest, strongestDigest } from './digest.ts';
import { evaluateManifest } from './evaluate-manifest.ts';
import { translateCreateEnvManifest } from './manifest/translate-create-env.ts';
import { parseMicroManifest, translateMicroManifest } from './manifest/translate-micro.ts';
import { applyOpsFile, parseOpsFile } from './ops/ops-file.ts';
import { parseDeploymentState, serializeDeploymentState } from './state/deployment-state.ts';
import { parseLegacyDeployments } from './state/legacy-deployments.ts';
import { checkVariables } from './variables/check-variables.ts';
import { VarsStore } from './variables/vars-store.ts';
import { emitYaml } from './yaml/emit-yaml.ts';
import { parseYaml } from './yaml/parse-yaml.ts';
import { toJson } from './yaml/yaml-node.ts';

/** Real documents with a few damages; `npm run fuzz` makes many more of them. */
const effort = Number(process.env['FUZZ'] ?? 1);

/** Pieces that mean something in one of the formats. */
const pieces = [
  '\n',
  '  ',
  '- ',
  ': ',
  ', ',
  '{',
  '}',
  '[',
  ']',
  '"',
  "'",
  '|',
  '>',
  '#',
  '&a ',
  '*a',
  '!!binary ',
  '!!int ',
  '<<: ',
  '---\n',
  '~',
  'null',
  '?',
  '\t',
  '%',
  '((',
  '))',
  '((x))',
  '((x.y))',
  '0',
  '-1',
  '1e400',
  '0x',
  '.nan',
  'yes',
  '/',
  ':before',
  '\u0000',
  '\u2028',
  '\u0085',
  '\n\n',
  'é',
  '\ud800',
  '__proto__: 1\n',
  'a'.repeat(5000),
  ';',
  'sha256:',
  '=',
];

type Damage = readonly [at: number, removed: number, inserted: string];

function damaged(text: string, damages: readonly Damage[]): string {
  return damages.reduce((current, [at, removed, inserted]) => {
    const start = Math.floor(at * current.length);
    return current.slice(0, start) + inserted + current.slice(start + removed);
  }, text);
}

const damages = fc.array(
  fc.tuple(
    fc.double({ min: 0, max: 1, noNaN: true }),
    fc.nat({ max: 30 }),
    fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 4 })),
  ),
  { minLength: 1, maxLength: 6 },
);

const createEnvManifest = `name: m
releases:
- {name: r, url: "file:///r.tgz", sha1: da39a3ee5e6b4b0d3255bfef95601890afd80709}
resource_pools:
- {name: p, network: n, stemcell: {url: "https://h/s.tgz", sha1: "sha256:ab"}, env: {bosh: {password: "*"}}, cloud_properties: {}}
disk_pools: [{name: d, disk_size: 1024}]
networks:
- name: n
  type: manual
  subnets: [{range: 10.0.0.0/24, gateway: 10.0.0.1, dns: [8.8.8.8]}]
- {name: v, type: vip}
instance_groups:
- name: g
  instances: 1
  resource_pool: p
  persistent_disk_pool: d
  networks: [{name: n, static_ips: [10.0.0.6], default: [dns, gateway]}, {name: v, static_ips: [1.2.3.4]}]
  properties: {a: &x {b: 1}, c: *x}
  jobs:
  - name: j
    release: r
    consumes: {db: {from: x}, kv: nil, m: {instances: [{address: a}], properties: {p: 1}}}
    provides: {x: {as: y}}
    custom_provider_definitions: [{name: n, type: t, properties: [a.b]}]
cloud_provider:
  template: {name: cpi, release: r}
  mbus: https://u:p@10.0.0.6:6868
  ssh_tunnel: {host: h, port: 22, user: u, password: p}
update: {update_watch_time: 1000-2000}
tags: {a: 1}
readiness: [{url: "https://10.0.0.6/"}]
`;

const microManifest = `---
name: m
network: {type: dynamic, vip: 1.2.3.4, ip: 10.0.0.6, netmask: 255.255.255.0, gateway: 10.0.0.1, dns: [8.8.8.8], cloud_properties: {a: b}}
env: {bosh: {password: x}}
resources: {persistent_disk: 4096, cloud_properties: {instance_type: m1.small}}
cloud:
  plugin: openstack
  properties: {openstack: {auth_url: "http://h/v2", username: u, api_key: k, tenant: t}, registry: {endpoint: "http://a:b@h:1"}}
apply_spec: {agent: {blobstore: {address: a}}, properties: {x: {y: 1}}}
logging: {level: DEBUG}
`;

const definitions = `variables:
- {name: ca, type: certificate, options: {is_ca: true, common_name: ca, organization: o}}
- {name: leaf, type: certificate, options: {ca: ca, common_name: x, alternative_names: [10.0.0.6]}}
- {name: word, type: password}
- {name: who, type: user, options: {username: w}}
`;
/** A certificate that OpenSSL made. */
const certificate = `-----BEGIN CERTIFICATE-----
MIIBozCCAUmgAwIBAgIUNYA/oCwvG7utty7eZhYKYruUjscwCgYIKoZIzj0EAwIw
JjELMAkGA1UEBhMCVVMxCjAIBgNVBAoMAW8xCzAJBgNVBAMMAmNhMCAXDTI2MTEy
MzA2NDE1NVoYDzIxMjYxMDMwMDY0MTU1WjAmMQswCQYDVQQGEwJVUzEKMAgGA1UE
CgwBbzELMAkGA1UEAwwCY2EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR012pC
cLMc/R0w5xpUp9CYQl+fATWJkK6VNupTr6TIxDvFgY+Pm0Tabi/hlXj9SIeUMRuZ
CLGhVrcCqlADV/iEo1MwUTAdBgNVHQ4EFgQUE9VnNy6xgWxeFYWJdTMFE94aO0Ew
HwYDVR0jBBgwFoAUE9VnNy6xgWxeFYWJdTMFE94aO0EwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiEAsxRPx2CPB+NWYdCWejXIf7jR631Y+cR1+M3b
Jf8loUcCIHGh80hrIRolhyzn+xgVeuZzQPMMpO6UAnSvr6ILSl+e
-----END CERTIFICATE-----
`.replaceAll('\n', '\n    ');
const varsStore = `ca:
  ca: &pem |
    ${certificate.trimEnd()}
  certificate: *pem
  private_key: secret-0123456789
leaf:
  ca: *pem
  certificate: *pem
  private_key: secret-0123456789
word: secret-0123456789
who: {username: w, password: secret-0123456789, password_hash: $6$x$y}
`;

/** The first lines of a text. */
function start(text: string, bytes: number): string {
  return text.slice(0, text.indexOf('\n- name: ', bytes) + 1);
}

const evaluate = async (text: string) => {
  const evaluated = await evaluateManifest({
    text,
    file: 'm.yml',
    variables: { assignments: ['x={y: 1}'] },
    requireAll: false,
  });
  expect(emitYaml(parseYaml(evaluated.text, { file: 'm' }))).toBe(evaluated.text);
  return evaluated;
};
const paths = { file: 'm.yml', manifestDirectory: '/', homeDirectory: '/' };
const { micro } = translateMicroManifest(parseMicroManifest(microManifest, 'm'), {
  ...paths,
  stemcell: { url: 'file:///s' },
}).model;

interface Target {
  readonly name: string;
  readonly seed: string;
  readonly read: (text: string) => unknown;
  /** Bounded runs, of few milliseconds each. */
  readonly runs: number;
}

const targets: readonly Target[] = [
  {
    name: 'a manifest for create-env: evaluation and validation',
    seed: createEnvManifest,
    read: async (text) => translateCreateEnvManifest(await evaluate(text), paths),
    runs: 300,
  },
  {
    name: 'micro_bosh.yml',
    seed: microManifest,
    read: (text) =>
      translateMicroManifest(parseMicroManifest(text, 'm'), { ...paths, stemcell: { url: 'file:///s' } }),
    runs: 300,
  },
  {
    name: 'YAML of each dialect: what is written is read as the same',
    seed: start(directorInput().text, 5000),
    read: (text) => {
      for (const dialect of ['go-yaml-v2', 'go-yaml-v3', 'psych'] as const) {
        const written = emitYaml(parseYaml(text, { file: 'm', dialect }));
        expect(emitYaml(parseYaml(written, { file: 'written' }))).toBe(written);
      }
    },
    runs: 150,
  },
  {
    name: 'an ops file',
    seed: '- {type: replace, path: /networks/name=v/subnets?/-, value: {a: [1]}}\n- type: replace\n  path: /instance_groups/name=g/jobs/name=z?/properties/x~1y~7z\n  value: ~0\n- {type: remove, path: "/tags/b?"}\n- {type: test, path: /name, value: m}\n- {type: replace, path: /disk_pools/-1:before, value: 2}\n',
    read: (text) =>
      emitYaml(applyOpsFile(parseYaml(createEnvManifest, { file: 'm' }), parseOpsFile(text, 'o.yml'))),
    runs: 300,
  },
  {
    name: 'a vars-store',
    seed: filledDirectorStore().split('\n').slice(0, 12).join('\n'),
    read: async (text) => {
      const store = await VarsStore.open({
        file: 'creds.yml',
        load: () => Promise.resolve(text),
        save: () => Promise.reject(new Error('nothing is saved')),
      });
      for (const name of store.names()) store.get(name);
      expect(store.textWithout(new Set())).not.toBe('');
    },
    runs: 200,
  },
  {
    name: 'a vars-store that vars check looks at: no value in what it finds',
    seed: varsStore,
    read: async (text) => {
      const evaluated = await evaluateManifest({
        text: definitions,
        file: 'm.yml',
        requireAll: false,
        generate: false,
        varsStore: { file: 'creds.yml', load: () => Promise.resolve(text), save: () => Promise.resolve() },
      });
      const found = checkVariables(evaluated, { now: new Date(0) });
      for (const { message } of found) expect(message).not.toContain('secret-0');
    },
    runs: 200,
  },
  {
    name: 'apply_spec.yml of a micro stemcell',
    seed: 'deployment: micro\nnetworks: {local: {ip: 127.0.0.1}}\nproperties:\n  agent: {nats: {user: a}}\n  director: {port: 1, ssl: {key: k}}\n  hm: {x: 1}\n  ntp: [a]\njob:\n  name: j\n  templates: [{name: j, blobstore_id: b, sha1: s}]\n',
    read: (text) => {
      const spec = toJson(parseYaml(text, { file: 'apply_spec.yml', dialect: 'psych' }));
      if (!isJsonObject(spec) || micro === undefined) return;
      const adapted = adaptMicroApplySpec(spec, {
        name: 'm',
        micro,
        agentServicesIp: '10.0.0.6',
      });
      expect(adapted['properties']).toMatchObject({ director: { name: 'm' } });
    },
    runs: 200,
  },
  {
    name: 'release.MF',
    seed: 'name: r\nversion: "1"\ncommit_hash: abc\njobs:\n- name: j\n  version: !binary |-\n    YWJj\n  fingerprint: f\n  sha1: da39\n  packages: [p]\npackages:\n- {name: p, version: v, fingerprint: v, sha1: "sha256:ab", dependencies: [q]}\ncompiled_packages:\n- {name: p, version: v, fingerprint: v, sha1: x, stemcell: os/1, dependencies: []}\nlicense: {version: a, fingerprint: a, sha1: b}\n',
    read: (text) => parseReleaseManifest(text, 'release.MF'),
    runs: 400,
  },
  {
    name: 'job.MF',
    seed: 'name: j\ntemplates: {a.erb: config/a, ../x: b}\npackages: [p]\nproperties:\n  a.b: {description: d, default: {x: [1, ~]}}\n  a: ~\nconsumes:\n- {name: db, type: sql, optional: true}\nprovides:\n- {name: x, type: y, properties: [a.b]}\n',
    read: (text) => parseJobManifest(text, 'job.MF'),
    runs: 400,
  },
  {
    name: 'stemcell.MF',
    seed: 'name: s\nversion: "1.10"\nsha1: da39\noperating_system: ubuntu-noble\napi_version: 3\nbosh_protocol: "1"\nstemcell_formats: [aws-raw]\ncloud_properties: {disk: 5120, ami: {us-east-1: ami-1}}\n',
    read: (text) => parseStemcellManifest(text, 'stemcell.MF'),
    runs: 400,
  },
  {
    name: 'a state file',
    seed: JSON.stringify({
      director_id: 'd',
      installation_id: 'i',
      current_vm_cid: 'v',
      current_stemcell_id: 's',
      current_disk_id: 'k',
      current_release_ids: ['r'],
      current_manifest_sha: '0',
      disks: [{ id: 'k', cid: 'c', size: 1, cloud_properties: { a: 1 } }],
      stemcells: [{ id: 's', name: 'n', version: '1', api_version: 3, cid: 'c' }],
      releases: [{ id: 'r', name: 'n', version: '1' }],
    }),
    read: (text) => {
      const state = parseDeploymentState(text, 's.json');
      expect(parseDeploymentState(serializeDeploymentState(state), 's.json')).toEqual(state);
    },
    runs: 600,
  },
  {
    name: 'bosh-deployments.yml',
    seed: '---\ninstances:\n- :id: 1\n  :name: m\n  :uuid: bm-1\n  :stemcell_cid: s\n  :stemcell_name: n\n  :vm_cid: v\n  :disk_cid: d\ndisks: []\n',
    read: (text) => parseLegacyDeployments(text, 'bosh-deployments.yml'),
    runs: 400,
  },
  {
    name: 'a digest',
    seed: 'da39a3ee5e6b4b0d3255bfef95601890afd80709;sha256:e3b0c44298fc1c14;sha512:cf83e1',
    read: (text) => strongestDigest(parseDigest(text)),
    runs: 600,
  },
];

describe('damaged documents end in a result or in an error for the operator', () => {
  it.each(targets)('$name', async ({ seed, read, runs }) => {
    await fc.assert(
      fc.asyncProperty(damages, async (list) => {
        const text = damaged(seed, list);
        try {
          await read(text);
        } catch (error) {
          if (!isOperationalError(error)) throw error;
          expect(error.message).not.toBe('');
        }
      }),
      { numRuns: runs * effort },
    );
  });

  it('and the undamaged ones are read, but for the path that leads out of job.MF', async () => {
    for (const { name, seed, read } of targets) {
      if (name === 'job.MF')
        await expect((async () => read(seed))()).rejects.toThrow('must be a safe local path');
      else await read(seed);
    }
  });
});
