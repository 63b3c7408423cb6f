import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { root, run, succeed } from './support/commands.ts';
import { Example } from './support/example.ts';
import { Guide } from './support/guide.ts';

const sections = [
  'Before the first deploy',
  'Deploy',
  'Change with a plan',
  'Look at it',
  'When it fails',
  'Stop, start, make anew',
  'When the state file is lost',
  'Delete',
];

describe('the operator guide', () => {
  let example: Example;
  let guide: Guide;
  const outputs = new Map<string, string>();

  beforeAll(async () => {
    example = await Example.create('10.245.96');
    guide = await Guide.read('docs/guide/operator.md');
  });
  afterAll(async () => example.tearDown());

  const execute = (script: string) =>
    run(['bash', '-euc', script], {
      cwd: example.directory,
      env: { ...example.env, PATH: `${join(root, 'bin')}:${process.env['PATH']}` },
      timeoutMs: 180_000,
    });
  const secrets = async () => {
    const { microbosh } = (await example.state()) as unknown as {
      microbosh: { agent: { password: string; private_key: string } };
    };
    const generated = await example.value('/instance_groups/name=registry/properties/registry/password');
    return [microbosh.agent.password, microbosh.agent.private_key.split('\n')[1] ?? '-', generated];
  };

  it.each(sections)('has commands that do what they should: %s', async (section) => {
    const known = section === 'When it fails' ? await secrets() : [];
    if (section === 'When the state file is lost') await example.putSettings('vm-1', '{"kept": true}');
    const finished = await guide.follow(section, execute);
    outputs.set(section, finished.map(({ output }) => output).join('\n'));
    if (section === 'When the state file is lost') {
      expect(await example.getSettings('vm-1')).toBe('{"kept": true}');
    }
    if (section !== 'When it fails') return;
    // Before the deployment is gone: what was packed says enough and not too much.
    const list = await succeed(['tar', '-tzf', join(example.directory, 'support.tgz')]);
    for (const name of ['state.json', 'events.jsonl', 'console.log', 'bootstrap.txt', 'vm/job/registry/']) {
      expect(list.stdout).toContain(name);
    }
    const { stdout: all } = await succeed(['tar', '-xzOf', join(example.directory, 'support.tgz')]);
    expect(all).toContain('last: ');
    expect(all).toContain('the agent answers');
    for (const secret of known) {
      expect(secret.length).toBeGreaterThan(8);
      expect(all).not.toContain(secret);
    }
  });

  it('has no command that is not run', () => {
    expect(guide.notRun).toEqual([]);
  });

  it('shows what was planned, deployed, changed, stopped and deleted', () => {
    expect(outputs.get('Before the first deploy')).toContain('ok      cpi');
    expect(outputs.get('Deploy')).toMatch(/1\. create stemcell[\s\S]*Creating VM[\s\S]*running/);
    expect(outputs.get('Change with a plan')).toMatch(/migrate disk[\s\S]*Migrating disk content/);
    expect(outputs.get('Look at it')).toContain('No drift.');
    expect(outputs.get('Look at it')).toContain('deployment registry');
    expect(outputs.get('Stop, start, make anew')).toMatch(
      /Stopping jobs[\s\S]*Starting the agent[\s\S]*Creating VM/,
    );
    expect(outputs.get('Delete')).toMatch(/Deleting VM[\s\S]*Would remove/);
  });
});

describe('the guide for stemcell builders', () => {
  it('has commands that do what they should, and none that is not run', async () => {
    const example = await Example.create('10.245.97');
    try {
      const guide = await Guide.read('docs/guide/stemcell-builder.md');
      await copyFile(
        join(root, 'dist/stemcells/local-host-rootfs.tgz'),
        join(example.directory, 'local-host-rootfs.tgz'),
      );
      const execute = (script: string) =>
        run(['bash', '-euc', script], {
          cwd: example.directory,
          env: { ...example.env, PATH: `${join(root, 'bin')}:${process.env['PATH']}` },
        });

      const release = await guide.follow('Micro stemcell for the local provider', execute);
      const stemcell = await guide.follow('Look at a stemcell', execute);

      expect(release.at(-1)?.stdout).toContain('greeter');
      expect(stemcell.at(-1)?.stdout).toContain('microbosh-local-host-rootfs');
      expect(guide.notRun).toEqual([]);
    } finally {
      await example.remove();
    }
  });
});
