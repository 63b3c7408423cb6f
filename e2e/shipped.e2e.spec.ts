import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root, succeed } from './support/commands.ts';
import { EmptyRoot } from './support/empty-root.ts';

interface Variant {
  readonly name: 'exe' | 'deb' | 'npm';
  readonly subnet: string;
  /** Installs what `packaging/deployer/build` made; answers the command. */
  readonly install: (place: EmptyRoot) => Promise<string>;
}

const built = (file: string) => join(root, 'dist/deployer', file);

const variants: readonly Variant[] = [
  {
    name: 'exe',
    subnet: '10.245.93',
    install: async (place) => {
      await copyFile(built('microbosh'), place.path('opt/microbosh'));
      return '/opt/microbosh';
    },
  },
  {
    name: 'deb',
    subnet: '10.245.94',
    install: async (place) => {
      await copyFile(built('microbosh.deb'), place.path('tmp/microbosh.deb'));
      for (const name of ['updates', 'info', 'triggers']) {
        await mkdir(place.path(join('var/lib/dpkg', name)), { recursive: true });
      }
      await writeFile(place.path('var/lib/dpkg/status'), '');
      // The root's database does not know what is there.
      await place.succeed(['dpkg', '--force-depends', '--install', '/tmp/microbosh.deb']);
      const { stdout } = await place.succeed(['sh', '-c', 'zcat /usr/share/man/man1/microbosh.1.gz']);
      expect(stdout).toContain('.B create\\-env');
      const completion = '. /usr/share/bash-completion/completions/microbosh; complete -p microbosh';
      expect((await place.succeed(['bash', '-c', completion])).stdout).toContain('_microbosh');
      return 'microbosh';
    },
  },
  {
    name: 'npm',
    subnet: '10.245.95',
    install: async (place) => {
      const prefix = place.path('opt');
      // Without a registry npm cannot fetch the runtime: a machine of its own brings it, as `node`.
      await succeed(
        [
          'npm',
          'install',
          '--offline',
          '--omit=optional',
          '--no-audit',
          '--no-fund',
          '--prefix',
          prefix,
          built('microbosh.tgz'),
        ],
        { timeoutMs: 60_000 },
      );
      await mkdir(place.path('opt/runtime'), { recursive: true });
      const runtime = `node-linux-${process.arch === 'arm64' ? 'arm64' : 'x64'}`;
      await copyFile(join(root, 'node_modules', runtime, 'bin/node'), place.path('opt/node'));
      const wrapper = '#!/bin/sh\nPATH=/opt/runtime:$PATH exec /opt/node_modules/.bin/microbosh "$@"\n';
      await copyFile(place.path('opt/node'), place.path('opt/runtime/node'));
      await writeFile(place.path('opt/start'), wrapper, { mode: 0o755 });
      return '/opt/start';
    },
  },
];

/** One form in ./check; all of them with `npm run e2e:shipped`. */
const chosen = process.env['SHIPPED'] === 'all' ? variants : variants.filter(({ name }) => name === 'exe');

describe.each(chosen)('the deployer shipped as $name, in a root without Node.js and checkout', (variant) => {
  let place: EmptyRoot;
  let command: string;
  const address = `${variant.subnet}.10`;
  const health = () =>
    succeed(['curl', '-sk', '--max-time', '10', `https://${address}:25777/healthz`]).then(
      ({ stdout }) => stdout,
    );
  const deploy = () =>
    place.succeed([command, 'create-env', 'm.yml', '--tty', '--vars-store', 'creds.yml'], 180_000);

  beforeAll(async () => {
    await succeed([join(root, 'packaging/deployer/build'), variant.name], { timeoutMs: 240_000 });
    place = await EmptyRoot.create();
    for (const file of ['stemcells/local-host-rootfs.tgz', 'releases/microbosh-registry.tgz']) {
      await copyFile(join(root, 'dist', file), place.path(join('opt', file.split('/')[1] ?? '')));
    }
    const manifest = await readFile(join(root, 'examples/registry/manifest.yml'), 'utf8');
    await writeFile(
      place.path('root/m.yml'),
      manifest
        .replaceAll('10.245.77', variant.subnet)
        .replaceAll(/file:\/\/\.\.\/\.\.\/dist\/\w+/g, 'file:///opt')
        .replace('plugin: local', 'plugin: local\n  properties: {local: {root_dir: /opt/local}}'),
    );
  });
  afterAll(async () => {
    await place.run([command, 'delete-env', 'm.yml', '-n']);
    await place.remove();
  });

  it('installs, and finds no other runtime', async () => {
    expect((await place.run(['sh', '-c', 'command -v node npm'])).stdout).toBe('');
    command = await variant.install(place);

    expect((await place.succeed([command, '--version'])).stdout).toBe('version 0.1.0\n');
    expect((await place.succeed([command, 'completion', 'bash'])).stdout).toContain('complete -o filenames');
    const doctor = await place.run([command, 'doctor', '--manifest', 'm.yml', '--vars-store', 'creds.yml']);
    expect(doctor.stdout).toContain('ok      manifest');
  });

  it('deploys', async () => {
    expect((await deploy()).stdout).toContain('Succeeded');

    expect(await health()).toContain('ok');
  });

  it('upgrades an environment whose state create-env wrote, and keeps its disk', async () => {
    const file = place.path('root/m-state.json');
    const { microbosh, ...original } = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown> & {
      current_disk_id: string;
    };
    expect(microbosh).toBeDefined();
    await writeFile(file, JSON.stringify({ ...original, current_manifest_sha: 'other' }));

    const { stdout } = await deploy();

    expect(stdout).toContain('Creating VM');
    expect(await health()).toContain('ok');
    expect(JSON.parse(await readFile(file, 'utf8'))).toMatchObject({
      current_disk_id: original.current_disk_id,
    });
  });

  it('deletes what it made', async () => {
    await place.succeed([command, 'delete-env', 'm.yml', '-n']);

    expect((await place.run(['ls', '/opt/local'])).exitCode).not.toBe(0);
  });
});
