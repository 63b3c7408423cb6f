import { chmod, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Agent, fetch } from 'undici';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run, succeed } from '../../support/commands.ts';
import { buildStemcell, fullLocalStemcell, stemcellCache } from '../../support/full-stemcell.ts';

const minutes = 60_000;

describe('a stemcell that is built three times, without a cache', { timeout: 60 * minutes }, () => {
  const user = `stemcell-${process.pid}`;
  let out: string;

  beforeAll(async () => {
    out = await mkdtemp(join(tmpdir(), 'microbosh-builds-'));
    await succeed(['useradd', '--create-home', '--home-dir', join(out, 'home'), user]);
    await chmod(out, 0o755);
  });
  afterAll(async () => {
    await run(['userdel', user]);
    await rm(out, { recursive: true, force: true });
  });

  it('has the same root file system, also when a user without privileges builds it', async () => {
    const digests: string[] = [];
    for (const [name, as] of [
      ['first', {}],
      ['second', {}],
      ['third', { user }],
    ] as const) {
      const started = Date.now();
      const stemcell = await buildStemcell('local', { out: join(out, 'home', name), ...as });
      const seconds = ((Date.now() - started) / 1000).toFixed(0);
      const { stdout: manifest } = await succeed(['tar', '-xzOf', stemcell, 'stemcell.MF']);
      digests.push(/"root_filesystem_sha256":"([0-9a-f]{64})"/.exec(manifest)?.[1] ?? manifest);
      console.log(
        `${name} build: ${seconds} s, ${((await stat(stemcell)).size / 2 ** 20).toFixed(0)} MiB, ${digests.at(-1)}`,
      );
    }

    expect(digests[0]).toMatch(/^[0-9a-f]{64}$/);
    expect([...new Set(digests)]).toHaveLength(1);
  });
});

describe('a micro stemcell', { timeout: 20 * minutes }, () => {
  const address = '10.245.95.10';
  let directory: string;
  let folder: string;
  let stemcell: string;
  let env: Record<string, string>;
  let certificate: string;

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'microbosh-micro-lab-'));
    folder = join(directory, 'registry');
    await mkdir(folder);
    await mkdir(join(directory, 'home'));
    env = { HOME: join(directory, 'home'), NO_COLOR: '1' };
    const release = join(directory, 'release.tgz');
    await succeed(['packaging/releases/microbosh-registry/build', '--with-runtime', '--file', release]);
    // The full one first: both share the root file system of the cache.
    await fullLocalStemcell();
    stemcell = await buildStemcell('local', {
      out: join(directory, 'stemcell'),
      cache: stemcellCache,
      micro: { release, job: 'registry' },
    });
    const files = { certificate: join(directory, 'server.crt'), key: join(directory, 'server.key') };
    await succeed([
      ...([
        'openssl',
        'req',
        '-x509',
        '-newkey',
        'rsa:2048',
        '-nodes',
        '-days',
        '2',
        '-subj',
        '/CN=micro',
      ] as const),
      ...['-addext', `subjectAltName=IP:${address}`, '-keyout', files.key, '-out', files.certificate],
    ]);
    certificate = await readFile(files.certificate, 'utf8');
    const privateKey = await readFile(files.key, 'utf8');
    await writeFile(
      join(folder, 'micro_bosh.yml'),
      JSON.stringify({
        name: 'registry',
        network: {
          type: 'manual',
          ip: address,
          netmask: '255.255.255.0',
          gateway: '10.245.95.1',
          dns: [],
          cloud_properties: {},
        },
        resources: { persistent_disk: 256, cloud_properties: { ephemeral_disk: 1024 } },
        cloud: { plugin: 'local', properties: { local: { root_dir: join(directory, 'local') } } },
        apply_spec: {
          properties: {
            registry: {
              password: 'secret',
              tls: { certificate, private_key: privateKey },
            },
          },
        },
        readiness: [{ url: `https://${address}:25777/readyz`, ca: certificate, timeout: 60 }],
      }),
    );
  }, 20 * minutes);
  afterAll(async () => {
    await run(['bin/microbosh', 'delete-env', join(folder, 'micro_bosh.yml'), '-n'], { env });
    await rm(directory, { recursive: true, force: true });
  }, 2 * minutes);

  it('is built with its packages compiled, and deployed by its micro_bosh.yml without a release', async () => {
    await succeed(['bin/microbosh', 'micro', 'deployment', folder], { env });

    const { stdout } = await succeed(['bin/microbosh', 'micro', 'deploy', stemcell, '--tty', '-n'], {
      env,
      timeoutMs: 5 * minutes,
    });

    expect(stdout).toContain('Deployed ');
    expect(stdout).not.toContain('Compiling package');
    const dispatcher = new Agent({ connect: { ca: certificate } });
    try {
      const response = await fetch(`https://${address}:25777/readyz`, { dispatcher });
      expect(response.status).toBe(200);
    } finally {
      await dispatcher.close();
    }
  });
});
