import fc from 'fast-check';
import { generateKeyPairSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { evaluateManifest } from '../evaluate-manifest.ts';
import { asJson } from '../../test/support/json.ts';
import { fromJson } from '../yaml/yaml-node.ts';
import { ManifestInvalid, type ManifestProblem } from './manifest-problem.ts';
import { referencedFiles, translateCreateEnvManifest } from './translate-create-env.ts';

const manifest = `
name: dep
releases:
- {name: bosh, url: "file://bosh.tgz"}
- {name: cpi, url: "https://x.example/cpi.tgz", sha1: "sha256:${'a'.repeat(64)}"}
cloud_provider:
  template: {name: some_cpi, release: cpi}
  mbus: https://u:p@10.0.0.6:6868
  properties: {key: 1}
networks:
- name: private
  type: manual
  subnets:
  - {range: 10.0.0.0/24, gateway: 10.0.0.1, dns: [8.8.8.8], cloud_properties: {subnet: s}}
- {name: dyn, type: dynamic, dns: [1.1.1.1], cloud_properties: {d: 1}}
- {name: pub, type: vip, cloud_properties: {v: 1}}
resource_pools:
- name: vms
  network: private
  stemcell: {url: "file:///s.tgz"}
  cloud_properties: {type: m3}
  env: {bosh: {ntp: [a]}}
disk_pools:
- {name: disks, disk_size: 2048, cloud_properties: {type: ssd}}
instance_groups:
- name: bosh
  instances: 1
  jobs:
  - {name: nats, release: bosh}
  - {name: director, release: bosh, properties: {}}
  resource_pool: vms
  persistent_disk_pool: disks
  networks: [{name: private, static_ips: [10.0.0.6, 10.0.0.7]}]
  properties: {a: 1}
properties: {b: 2}
tags: {team: ops, number: 010}
update: {update_watch_time: 1000-30000}
`;

const options = { file: 'm.yml', manifestDirectory: '/deploy', homeDirectory: '/home/op' };

async function translate(text: string, more: Partial<Parameters<typeof translateCreateEnvManifest>[1]> = {}) {
  return translateCreateEnvManifest(await evaluateManifest({ text, file: 'm.yml' }), { ...options, ...more });
}

async function problemsOf(text: string): Promise<readonly ManifestProblem[]> {
  const failure: unknown = await translate(text).catch((error: unknown) => error);
  return failure instanceof ManifestInvalid ? failure.problems : [];
}

function edit(from: string, to: string): string {
  if (!manifest.includes(from)) throw new Error(`the manifest has no ${from}`);
  return manifest.replace(from, to);
}

describe('create-env manifest', () => {
  it('becomes a deployment model', async () => {
    const { model, warnings } = await translate(manifest);

    expect(warnings).toEqual([]);
    expect(model).toMatchObject({
      name: 'dep',
      source: 'create-env',
      releases: [
        { name: 'bosh', url: 'file:///deploy/bosh.tgz' },
        { name: 'cpi', url: 'https://x.example/cpi.tgz', sha1: `sha256:${'a'.repeat(64)}` },
      ],
      cloud: {
        kind: 'release',
        templates: [{ name: 'some_cpi', release: 'cpi' }],
        mbus: 'https://u:p@10.0.0.6:6868',
        properties: { key: 1 },
      },
      stemcell: { url: 'file:///s.tgz' },
      vm: { cloudProperties: { type: 'm3' }, env: { bosh: { ntp: ['a'] } } },
      persistentDisk: { sizeMiB: 2048, cloudProperties: { type: 'ssd' } },
      group: {
        name: 'bosh',
        jobs: [
          { name: 'nats', release: 'bosh' },
          { name: 'director', release: 'bosh', properties: {} },
        ],
        properties: { a: 1 },
      },
      properties: { b: 2 },
      tags: { team: 'ops', number: '8' },
      updateWatchTimeMs: { min: 1000, max: 30000 },
      readiness: [],
    });
    expect(model.group.jobs[0]).not.toHaveProperty('properties');
    expect(model.networks).toEqual({
      private: {
        type: 'manual',
        ip: '10.0.0.6',
        netmask: '255.255.255.0',
        gateway: '10.0.0.1',
        dns: ['8.8.8.8'],
        cloud_properties: { subnet: 's' },
        default: ['dns', 'gateway'],
      },
    });
  });

  it('gives CPI and agent the networks of each type', async () => {
    const networks =
      'networks: [{name: private, static_ips: [10.0.0.6], default: [dns, gateway]}, {name: dyn}, {name: pub, static_ips: [1.2.3.4]}]';
    const { model } = await translate(
      edit('networks: [{name: private, static_ips: [10.0.0.6, 10.0.0.7]}]', networks),
    );

    expect(model.networks['dyn']).toEqual({ type: 'dynamic', dns: ['1.1.1.1'], cloud_properties: { d: 1 } });
    expect(model.networks['pub']).toEqual({ type: 'vip', ip: '1.2.3.4', cloud_properties: { v: 1 } });
    expect(model.networks['private']?.default).toEqual(['dns', 'gateway']);
  });

  it('takes the old names jobs, templates and persistent_disk', async () => {
    const { model } = await translate(
      manifest
        .replace('instance_groups:', 'jobs:')
        .replace('  jobs:\n', '  templates:\n')
        .replace('persistent_disk_pool: disks', 'persistent_disk: 4096'),
    );

    expect(model.group.jobs).toHaveLength(2);
    expect(model.persistentDisk).toEqual({ sizeMiB: 4096, cloudProperties: {} });
  });

  it('has defaults for what may be left out', async () => {
    const { model } = await translate(
      manifest
        .replace('  persistent_disk_pool: disks\n', '')
        .replace(/^properties:.*\ntags:.*\nupdate:.*\n/m, '')
        .replace('  properties: {a: 1}\n', ''),
    );

    expect(model).toMatchObject({
      properties: {},
      tags: {},
      updateWatchTimeMs: { min: 0, max: 300000 },
      group: { properties: {} },
    });
    expect(model).not.toHaveProperty('persistentDisk');
  });

  it('knows a built-in CPI and readiness checks', async () => {
    const { model } = await translate(
      `${edit('template: {name: some_cpi, release: cpi}', 'plugin: openstack')}readiness: [{url: "https://10.0.0.6/"}, {url: "http://x", expect_status: 204, timeout: 5}]\n`,
    );

    expect(model.cloud).toMatchObject({ kind: 'built-in', plugin: 'openstack', properties: { key: 1 } });
    expect(model.readiness).toEqual([
      { url: 'https://10.0.0.6/', expectStatus: 200, timeoutMs: 120000 },
      { url: 'http://x', expectStatus: 204, timeoutMs: 5000 },
    ]);
  });

  it('reads the key of an SSH tunnel inline and from a file beside the manifest', async () => {
    const pem = generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey.export({
      type: 'pkcs1',
      format: 'pem',
    });
    const tunnel = (key: string) =>
      edit(
        '  mbus:',
        `  ssh_tunnel: {host: h, port: 22, user: u, private_key: ${JSON.stringify(key)}}\n  mbus:`,
      );
    const evaluated = await evaluateManifest({ text: tunnel('keys/id'), file: 'm.yml' });

    expect(referencedFiles(evaluated.root, options)).toEqual(['/deploy/keys/id']);
    const fromFile = await translate(tunnel('keys/id'), {
      files: new Map([['/deploy/keys/id', pem.toString()]]),
    });
    const inline = await translate(tunnel(pem.toString()));
    expect(fromFile.model.cloud.sshTunnel).toEqual({
      host: 'h',
      port: 22,
      user: 'u',
      privateKey: pem.toString(),
    });
    expect(inline.model.cloud.sshTunnel).toEqual(fromFile.model.cloud.sshTunnel);
  });

  it.each([
    ['https://x/y', 'https://x/y'],
    ['file:///abs', 'file:///abs'],
    ['file://rel/x', 'file:///deploy/rel/x'],
    ['file://../x', 'file:///x'],
    ['file://~/x', 'file:///home/op/x'],
  ])('resolves the URL %s to %s', async (url, wanted) => {
    const { model } = await translate(edit('file:///s.tgz"}', `${url}", sha1: ${'a'.repeat(40)}}`));

    expect(model.stemcell.url).toBe(wanted);
  });

  it('warns about an unknown key with a suggestion and goes on, as the original does', async () => {
    const { warnings } = await translate(edit('tags:', 'tag:'));

    expect(warnings).toEqual([
      {
        severity: 'warning',
        message: "Unknown key 'tag' is ignored",
        position: { file: 'm.yml', line: 36, column: 1 },
        path: '/tag',
        suggestion: 'tags',
      },
    ]);
  });

  it('refuses an unknown key when it is asked to be strict', async () => {
    await expect(translate(edit('tags:', 'tag:'), { strict: true })).rejects.toThrow("did you mean 'tags'?");
  });

  it.each(['20000', ' 20000 '])('takes a watch time that is one number for both ends: %j', async (text) => {
    const { model } = await translate(edit('1000-30000', JSON.stringify(text)));

    expect(model.updateWatchTimeMs).toEqual({ min: 20_000, max: 20_000 });
  });

  it('accepts what the original accepts and does not use', async () => {
    const { warnings } = await translate(
      `${manifest}stemcells: []\naddons: []\nfeatures: {}\ncompilation: {}\ndirector_uuid: x\n`,
    );

    expect(warnings).toEqual([]);
  });

  it('reports all problems of all parts at once, each with place and path', async () => {
    const problems = await problemsOf(
      'releases: [{url: x}]\ncloud_provider: {}\nnetworks: [{name: a, type: b}]\n',
    );

    expect(problems.filter(({ severity }) => severity === 'error').map(({ message }) => message)).toEqual([
      'releases[0].name must be provided',
      'releases[0].url must be a valid URL (file:// or http(s)://)',
      'cloud_provider.template.name must be provided',
      'cloud_provider.template.release must be provided',
      'name must be provided',
      "networks[0].type must be 'manual', 'dynamic', or 'vip'",
      'jobs must be of size 1',
      'jobs[0].resource_pool must be provided',
      'jobs[0].networks must be a non-empty array',
    ]);
    expect(problems[5]).toMatchObject({ position: { line: 3, column: 28 }, path: '/networks/0/type' });
  });
});

/** Rows are the texts of reference create-env §5. */
describe('problems of a create-env manifest', () => {
  it.each([
    [/^releases:\n.*\n.*\n/m, '', 'releases must contain at least 1 release'],
    ['name: cpi, url', 'name: bosh, url', "releases[1].name 'bosh' must be unique"],
    ['file://bosh.tgz', '/abs/bosh.tgz', 'releases[0].url must be a valid URL (file:// or http(s)://)'],
    [`, sha1: "sha256:${'a'.repeat(64)}"`, '', 'releases[1].sha1 must be provided for http URL'],
    [
      `sha256:${'a'.repeat(64)}`,
      'a;b',
      "releases[1].sha1 must be a digest: Multiple digests of the algorithm 'sha1' found",
    ],
    [
      'some_cpi, release: cpi',
      'some_cpi, release: cpj',
      "cloud_provider.template.release 'cpj' must refer to a release in releases",
    ],
    [
      'template: {name: some_cpi, release: cpi}',
      'templates: [{name: x, release: cpi}, {name: x, release: cpi}]',
      "Duplicate templates names are illegal. Duplicate template names found: 'x'",
    ],
    [
      'template: {name: some_cpi, release: cpi}',
      'plugin: opnstack',
      "cloud_provider.plugin 'opnstack' must be one of",
    ],
    ['  mbus:', '  cert: {ca: nonsense}\n  mbus:', 'Invalid CA cert'],
    [
      '  mbus:',
      '  ssh_tunnel: {private_key: "-----BEGIN EC PRIVATE KEY-----"}\n  mbus:',
      'Unsupported private key format for ssh tunnel',
    ],
    [
      '  mbus:',
      '  ssh_tunnel: {private_key: "-----BEGIN RSA PRIVATE KEY-----"}\n  mbus:',
      'Invalid private key for ssh tunnel',
    ],
    ['  mbus:', '  ssh_tunnel: {private_key: nowhere}\n  mbus:', 'Reading private key from /deploy/nowhere'],
    ['name: dep\n', '', 'name must be provided'],
    ['1000-30000', '1-2-3', "Invalid watch time range '1-2-3'"],
    ['1000-30000', 'a-1', 'Non-positive number as watch time minimum a'],
    ['1000-30000', '1-b', 'Non-positive number as watch time maximum b'],
    ['1000-30000', '5-1', 'Watch time must have maximum greater than or equal minimum 5-1'],
    ['instances: 1', 'instances: 2', "Job 'bosh' must have only one instance, found 2"],
    ['instances: 1', 'instances: -1', 'jobs[0].instances must be >= 0'],
    ['  instances: 1\n', '', "Job 'bosh' must have only one instance, found 0"],
    [
      'instances: 1',
      'instances: 1\n  lifecycle: errand',
      "jobs[0].lifecycle must be 'service' ('errand' not supported)",
    ],
    [
      'instances: 1',
      'instances: 1\n  templates: []',
      'Deployment specifies both templates and jobs keys for instance_group bosh, only one is allowed',
    ],
    [
      'properties: {b: 2}',
      'jobs: []',
      'Deployment specifies both jobs and instance_groups keys, only one is allowed',
    ],
    ['- name: bosh\n  instances', '- instances', 'jobs[0].name must be provided'],
    ['name: director, release', 'name: nats, release', "jobs[0].templates[1].name 'nats' must be unique"],
    ['{name: nats, release: bosh}', '{release: bosh}', 'jobs[0].templates[0].name must be provided'],
    ['{name: nats, release: bosh}', '{name: nats}', 'jobs[0].templates[0].release must be provided'],
    [
      '{name: nats, release: bosh}',
      '{name: nats, release: bsh}',
      "jobs[0].templates[0].release 'bsh' must refer to release in releases",
    ],
    [
      'resource_pool: vms',
      'resource_pool: vmss',
      'jobs[0].resource_pool must be the name of a resource pool',
    ],
    ['  resource_pool: vms\n', '', 'jobs[0].resource_pool must be provided'],
    [
      'persistent_disk_pool: disks',
      'persistent_disk_pool: disk',
      'jobs[0].persistent_disk_pool must be the name of a disk pool',
    ],
    ['persistent_disk_pool: disks', 'persistent_disk: -1', 'jobs[0].persistent_disk must be >= 0'],
    ['disk_size: 2048', 'disk_size: 0', 'disk_pools[0].disk_size must be > 0'],
    ['{name: disks, disk_size', '{disk_size', 'disk_pools[0].name must be provided'],
    ['- name: vms\n  network: private', '- network: private', 'resource_pools[0].name must be provided'],
    ['network: private', 'network: privat', 'resource_pools[0].network must be the name of a network'],
    ['  network: private\n', '', 'resource_pools[0].network must be provided'],
    ['file:///s.tgz', 's.tgz', 'resource_pools[0].stemcell.url must be a valid URL (file:// or http(s)://)'],
    ['file:///s.tgz', 'http://x/s.tgz', 'resource_pools[0].stemcell.sha1 must be provided for http URL'],
    ['{bosh: {ntp: [a]}}', '{bosh: text}', 'resource_pools[0].env.bosh must be a map'],
    ['- name: private\n  type', '- type', 'networks[0].name must be provided'],
    ['type: manual', 'type: manul', "networks[0].type must be 'manual', 'dynamic', or 'vip'"],
    [/ {2}subnets:\n.*\n/, '', 'networks[0].subnets must be of size 1'],
    ['range: 10.0.0.0/24, ', '', 'networks[0].subnets[0].range must be provided'],
    ['10.0.0.0/24', '10.0.0/24', 'networks[0].subnets[0].range must be an ip range'],
    ['gateway: 10.0.0.1, ', '', 'networks[0].subnets[0].gateway must be provided'],
    ['gateway: 10.0.0.1', 'gateway: 10.0.0', 'networks[0].subnets[0].gateway must be an ip'],
    [
      'gateway: 10.0.0.1',
      'gateway: 10.0.1.1',
      "subnet gateway '10.0.1.1' must be within the specified range '10.0.0.0/24'",
    ],
    ['gateway: 10.0.0.1', 'gateway: 10.0.0.0', "subnet gateway can't be the network address '10.0.0.0'"],
    [
      'gateway: 10.0.0.1',
      'gateway: 10.0.0.255',
      "subnet gateway can't be the broadcast address '10.0.0.255'",
    ],
    ['[{name: private, static', '[{static', 'jobs[0].networks[0].name must be provided'],
    ['[{name: private, static', '[{name: privte, static', 'jobs[0].networks[0] not found in networks'],
    ['[10.0.0.6, 10.0.0.7]', '[10.0.0.300]', 'jobs[0].networks[0].static_ips[0] must be a valid IP'],
    [
      '[10.0.0.6, 10.0.0.7]',
      '[10.0.1.6]',
      "jobs[0].networks[0] static ip '10.0.1.6' must be within subnet range",
    ],
    [
      ', static_ips: [10.0.0.6, 10.0.0.7]',
      '',
      "jobs[0].networks[0] must have a static ip because network 'private' is manual",
    ],
    [
      '10.0.0.7]}]',
      '10.0.0.7], default: [dnss]}]',
      "jobs[0].networks[0].default[0] must be 'dns' or 'gateway'",
    ],
    [
      '10.0.0.7]}]',
      '10.0.0.7]}, {name: dyn}]',
      "with multiple networks, a default for 'dns' must be specified",
    ],
    [
      '10.0.0.7]}]',
      '10.0.0.7], default: [dns]}, {name: dyn, default: [dns, gateway]}]',
      "only one network can be the default for 'dns'",
    ],
    [/ {2}networks: \[.*\n/, '', 'jobs[0].networks must be a non-empty array'],
    ['properties: {b: 2}', 'properties: {1: x}', "Map contains non-string key '1'"],
    ['properties: {b: 2}', 'properties: {x: .inf}', "The number '.inf' cannot be expressed in JSON"],
    ['properties: {b: 2}', 'properties: [a]', 'Expected a map but found a list'],
    ['disk_size: 2048', 'disk_size: much', 'Expected a whole number but found a single value'],
    ['name: dep', 'name: [a]', 'Expected text but found a list'],
    [
      'tags: {team: ops, number: 010}',
      'readiness: [{url: "ftp://x"}]',
      'readiness[0].url must be an http(s) URL',
    ],
  ] as const)('%s -> %s: %s', async (from, to, message) => {
    if (typeof from === 'string') expect(manifest).toContain(from);

    const problems = await problemsOf(manifest.replace(from, to));

    expect(problems.map((problem) => problem.message)).toContainEqual(expect.stringContaining(message));
    for (const problem of problems) {
      expect(problem.position).toMatchObject({ file: 'm.yml' });
      expect(problem.position.line).toBeGreaterThan(0);
    }
  });

  it.each([
    ['type: manual', 'type: manuel', 'manual'],
    ['resource_pool: vms', 'resource_pool: vm', 'vms'],
    ['{name: nats, release: bosh}', '{name: nats, release: bsoh}', 'bosh'],
  ])('suggests the name that was meant: %s -> %s', async (from, to, suggestion) => {
    expect(await problemsOf(edit(from, to))).toContainEqual(expect.objectContaining({ suggestion }));
  });

  it('answers any document with a model or with problems', async () => {
    const names = fc.constantFrom(
      'name',
      'releases',
      'cloud_provider',
      'networks',
      'resource_pools',
      'jobs',
      'instance_groups',
      'disk_pools',
      'type',
      'subnets',
      'range',
      'gateway',
      'url',
      'sha1',
      'env',
      'bosh',
      'tags',
      'update',
      'update_watch_time',
      'template',
      'templates',
      'properties',
      'static_ips',
      'x',
    );
    const tree = fc.letrec<{ node: unknown }>((tie) => ({
      node: fc.oneof(
        { maxDepth: 6 },
        fc.constantFrom('manual', '10.0.0.0/8', '10.0.0.1', 1, -1, null, true, 'file:///x', '1-2', ''),
        fc.array(tie('node'), { maxLength: 3 }),
        fc.dictionary(names, tie('node'), { maxKeys: 6 }),
      ),
    })).node;

    fc.assert(
      fc.property(fc.dictionary(names, tree), (value) => {
        const root = fromJson(asJson(value));
        try {
          translateCreateEnvManifest({ root, manifestSha: '' }, options);
        } catch (error) {
          if (!(error instanceof ManifestInvalid)) throw error;
          expect(error.problems.length).toBeGreaterThan(0);
        }
      }),
      { numRuns: 500 },
    );
  });
});
