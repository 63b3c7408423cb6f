import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';

const main = join(import.meta.dirname, '../main.ts');
const password = 'a-password-of-the-agent';
let folder: string;

/** A VM whose agent never answered: a state, a console, a port that nobody listens on. */
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'support-'));
  const properties = { local: { root_dir: join(folder, 'local') } };
  writeFileSync(join(folder, 'm.yml'), 'name: ((missing))\n');
  const paths = environmentPaths(join(folder, 'm.yml'), undefined, folder);
  const store = await StateStore.open(paths);
  await store.update({
    current_vm_cid: 'vm-1',
    own: {
      deployment: 'd',
      cloud: { kind: 'built-in', plugin: 'local', properties },
      endpoint: { mbus: `https://mbus:${password}@127.0.0.1:1`, ca: '', server_name: 'agent.internal' },
    },
  });
  writeFileSync(paths.journal, `{"phase":"intent","arguments":{"password":"${password}"}}\n`);
  const vm = join(folder, 'local/vms/vm-1');
  mkdirSync(vm, { recursive: true });
  const lines = [
    { level: 30, step: 'networking', number: 9, of: 14, msg: 'Bootstrap step begins.' },
    { level: 30, step: 'networking', outcome: 'done', changes: [], msg: 'Bootstrap step finished.' },
    { level: 30, step: 'data disk', number: 10, of: 14, msg: 'Bootstrap step begins.' },
  ];
  writeFileSync(
    join(vm, 'console.log'),
    `kernel: hello\n${lines.map((line) => `${JSON.stringify(line)}\n`).join('')}mbus is ${password}\n`,
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('support, for a VM whose agent never answered', () => {
  it('packs the console, the last step of the bootstrap and why the agent cannot be asked, without secrets', () => {
    const bundle = join(folder, 'bundle.tgz');
    const { status, stderr } = spawnSync(process.execPath, [main, 'support', 'm.yml', '--out', bundle], {
      cwd: folder,
      encoding: 'utf8',
    });
    expect(status, stderr).toBe(0);

    const member = (name: string) =>
      execFileSync('tar', ['-xzOf', bundle, `./${name}`], { encoding: 'utf8' });
    expect(member('console.log')).toContain('kernel: hello');
    expect(member('bootstrap.txt')).toBe(
      'last: networking: done\nnow: still bootstrapping at step 10 of 14: data disk\n\nnetworking: done\n',
    );
    expect(member('agent.txt')).toMatch(/could not be had: .*nothing listens on the port of the agent/);
    expect(member('state.json')).toContain('"current_vm_cid": "vm-1"');
    expect(member('journal.jsonl')).toContain('<redacted>');
    expect(execFileSync('tar', ['-xzOf', bundle], { encoding: 'utf8' })).not.toContain(password);
  });
});
