import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EnvironmentLock } from './environment-lock.ts';
import { environmentPaths } from './environment-paths.ts';
import type { EnvironmentPaths } from './environment-paths.ts';
import { Journal } from './journal.ts';
import { StateStore } from './state-store.ts';

let folder: string;
let paths: EnvironmentPaths;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'state-'));
  paths = environmentPaths('m.yml', undefined, folder);
});
afterEach(async () => rm(folder, { recursive: true, force: true }));

describe('the state file', () => {
  it('stands beside the manifest, is private, and has the keys of create-env first', async () => {
    const store = await StateStore.open(paths);

    await store.update({ current_vm_cid: 'vm-1' });

    expect(paths.state).toBe(join(folder, 'm-state.json'));
    expect((await stat(paths.state)).mode & 0o777).toBe(0o600);
    const text = await readFile(paths.state, 'utf8');
    expect(Object.keys(JSON.parse(text) as object).slice(0, 3)).toEqual([
      'director_id',
      'installation_id',
      'current_vm_cid',
    ]);
    expect(text).toContain('\n    "current_vm_cid": "vm-1"');
    expect(text.endsWith('\n')).toBe(false);
  });

  it('keeps keys of others, and the copy from before this run', async () => {
    await writeFile(paths.state, JSON.stringify({ director_id: 'd', current_vm_cid: 'old', theirs: 7 }));
    const store = await StateStore.open(paths);

    await store.update({ current_vm_cid: 'new' });
    await store.update({ current_vm_cid: 'newer' });

    expect(JSON.parse(await readFile(paths.state, 'utf8'))).toMatchObject({
      theirs: 7,
      current_vm_cid: 'newer',
    });
    expect(JSON.parse(await readFile(paths.previousState, 'utf8'))).toMatchObject({ current_vm_cid: 'old' });
  });

  it('tells when someone else changed it', async () => {
    await (await StateStore.open(paths)).update({ current_vm_cid: 'vm-1' });
    expect((await StateStore.open(paths)).editedByOthers).toBe(false);

    await writeFile(paths.state, (await readFile(paths.state, 'utf8')).replace('vm-1', 'vm-2'));

    expect((await StateStore.open(paths)).editedByOthers).toBe(true);
  });

  it.each(['{"director_id": ', '[]', '{"microbosh": {"schema_version": 2}}', '{"disks": "none"}'])(
    'is refused and left alone when it is not one: %s',
    async (content) => {
      await writeFile(paths.state, content);

      await expect(StateStore.open(paths)).rejects.toThrow(/state file/);
      expect(await readFile(paths.state, 'utf8')).toBe(content);
    },
  );
});

describe('the journal', () => {
  it('remembers an intent without outcome, with its token and arguments', async () => {
    const journal = await Journal.open(paths.journal);
    const intent = await journal.begin('create_vm', { stemcell: 's' });
    await journal.close();

    const later = await Journal.open(paths.journal);

    expect(later.openIntents).toEqual([intent]);
    expect((await stat(paths.journal)).mode & 0o777).toBe(0o600);
  });

  it('is empty when every intent has its outcome', async () => {
    const journal = await Journal.open(paths.journal);
    const intent = await journal.begin('create_vm', {});
    await journal.end(intent, { ok: true, result: 'vm-1' });
    await journal.close();

    expect(await readFile(paths.journal, 'utf8')).toBe('');
  });

  it('drops half a line at its end: the effect of it never began', async () => {
    const journal = await Journal.open(paths.journal);
    const intent = await journal.begin('create_vm', {});
    await journal.close();
    await appendFile(paths.journal, '{"phase":"intent","id":"x","oper');

    const later = await Journal.open(paths.journal);
    await later.begin('create_disk', {});
    await later.close();

    const operations = (await Journal.open(paths.journal)).openIntents.map(({ operation }) => operation);
    expect(operations).toEqual([intent.operation, 'create_disk']);
  });

  it('is refused when a line in its middle is damaged', async () => {
    const journal = await Journal.open(paths.journal);
    await journal.begin('create_vm', {});
    await journal.close();
    await writeFile(paths.journal, `garbage\n${await readFile(paths.journal, 'utf8')}`);

    await expect(Journal.open(paths.journal)).rejects.toThrow(/damaged in line 1/);
  });
});

describe('the lock', () => {
  it('lets one in, names it to the other, and ends with its release', async () => {
    const first = await EnvironmentLock.acquire(paths, 'create-env');

    await expect(EnvironmentLock.acquire(paths, 'delete-env')).rejects.toThrow(
      new RegExp(`'create-env' of .* \\(pid ${process.pid},`),
    );
    await first.release();
    await (await EnvironmentLock.acquire(paths, 'delete-env')).release();
  });

  it('ends with a process that is killed', async () => {
    const script = `
      import { EnvironmentLock } from ${JSON.stringify(join(import.meta.dirname, 'environment-lock.ts'))};
      await EnvironmentLock.acquire(${JSON.stringify(paths)}, 'create-env');
      process.stdout.write('locked');
      setInterval(() => undefined, 1000);`;
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    await expect(EnvironmentLock.acquire(paths, 'x')).rejects.toThrow(/in use/);

    child.kill('SIGKILL');
    await once(child, 'close');

    await (await EnvironmentLock.acquire(paths, 'x')).release();
  });

  it('of another machine holds until it is removed', async () => {
    await (await EnvironmentLock.acquire(paths, 'x')).release();
    const holder = { owner: 'o', host: 'elsewhere', pid: 1, command: 'create-env', since: 'then' };
    await writeFile(paths.lockHolder, JSON.stringify(holder));

    await expect(EnvironmentLock.acquire(paths, 'x')).rejects.toThrow(/on elsewhere/);
  });
});
