import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isJsonObject, type JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import { bakeMicro } from './micro.ts';

const runner = new NodeCommandRunner();
let directory: string;
let tree: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'micro-'));
  tree = join(directory, 'tree');
  // The smallest root file system in which a packaging script runs: this machine's programs, seen from a new root.
  for (const name of ['usr', 'dev', 'tmp']) await mkdir(join(tree, name), { recursive: true });
  // Read-only: whatever becomes of this test, nothing can be removed through it.
  await runner.run(['mount', '--bind', '/usr', join(tree, 'usr')]);
  await runner.run(['mount', '-o', 'remount,ro,bind', join(tree, 'usr')]);
  for (const name of ['bin', 'sbin', 'lib', 'lib64'])
    await runner.run(['ln', '-s', `usr/${name}`, join(tree, name)]);
});

afterAll(async () => {
  await runner.run(['umount', join(tree, 'usr')]);
  await rm(directory, { recursive: true });
});

async function pack(name: string, files: Readonly<Record<string, string>>): Promise<void> {
  const source = join(directory, 'source');
  await rm(source, { recursive: true, force: true });
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(source, path, '..'), { recursive: true });
    await writeFile(join(source, path), text);
  }
  await mkdir(join(directory, 'release', name, '..'), { recursive: true });
  await runner.run(['tar', '-C', source, '-czf', join(directory, 'release', name), '.']);
}

async function release(): Promise<string> {
  await pack('packages/base.tgz', {
    packaging: 'mkdir -p $BOSH_INSTALL_TARGET/bin && cp word $BOSH_INSTALL_TARGET/bin/',
    word: 'hello',
  });
  await pack('packages/top.tgz', {
    packaging: 'set -e\ncat /var/vcap/packages/base/bin/word > $BOSH_INSTALL_TARGET/copy',
  });
  await pack('jobs/web.tgz', {
    'job.MF':
      'name: web\ntemplates: {}\npackages: [top]\nproperties:\n  web.port: {default: 80}\n  web.user: {description: nobody}\n',
    monit: '',
  });
  await writeFile(
    join(directory, 'release/release.MF'),
    [
      'name: tiny',
      'version: "7"',
      'jobs: [{name: web, version: w1, fingerprint: w1, sha1: x}]',
      'packages:',
      '- {name: base, version: b1, fingerprint: b1, sha1: x, dependencies: []}',
      '- {name: top, version: t1, fingerprint: t1, sha1: x, dependencies: [base]}',
      '',
    ].join('\n'),
  );
  const path = join(directory, 'tiny.tgz');
  await runner.run(['tar', '-C', join(directory, 'release'), '-czf', path, 'release.MF', 'packages', 'jobs']);
  return path;
}

async function bake(job: string): Promise<JsonObject> {
  const work = await mkdtemp(join(directory, 'work-'));
  const text = await bakeMicro(
    runner,
    tree,
    work,
    'qemu',
    { release: await release(), jobs: [job] },
    () => undefined,
  );
  const spec: unknown = JSON.parse(text);
  if (!isJsonObject(spec)) throw new Error('the apply spec is not an object');
  return spec;
}

describe('micro stemcell', () => {
  it('compiles packages after their dependencies and names them in the apply spec', async () => {
    const spec = await bake('web');

    expect(spec).toMatchObject({
      deployment: 'micro',
      release: { name: 'tiny', version: '7' },
      properties: { web: { port: 80 } },
      packages: { base: { version: 'b1' }, top: { version: 't1' } },
      job: { name: 'web', template: 'web', templates: [{ name: 'web', version: 'w1' }] },
      networks: { type: 'dynamic' },
    });
    expect(await readFile(join(tree, 'var/vcap/micro/apply_spec.yml'), 'utf8')).toBe(
      `${JSON.stringify(spec, null, 2)}\n`,
    );
  });

  it('keeps the compiled package in the blobstore of the agent, and nothing of the build', async () => {
    const spec = await bake('web');

    const packages = isJsonObject(spec['packages']) ? spec['packages'] : {};
    const top = isJsonObject(packages['top']) ? packages['top'] : {};
    const id = typeof top['blobstore_id'] === 'string' ? top['blobstore_id'] : '';
    const blob = join(tree, 'var/vcap/micro_bosh/data/cache', id);
    const { stdout } = await runner.run(['tar', '-xzOf', blob, './copy']);
    expect(stdout).toBe('hello');
    expect(existsSync(join(tree, 'var/vcap/data/compile'))).toBe(false);
    expect(existsSync(join(tree, 'var/vcap/packages'))).toBe(false);
  });

  it('says which jobs there are when it does not know the one asked for', async () => {
    await expect(bake('wep')).rejects.toMatchObject({
      code: 'E_STEMCELL_MICRO_RELEASE',
      advice: 'It has: web.',
    });
  });
});
