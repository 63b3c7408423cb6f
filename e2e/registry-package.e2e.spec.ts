import { copyFile, cp, mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestCa } from '@microbosh/registry-server/testing';
import type { Finished } from './support/commands.ts';
import { EmptyRoot } from './support/empty-root.ts';
import { eventually } from './support/eventually.ts';
import { Guide } from './support/guide.ts';
import { registryPackage } from './support/registry-package.ts';

const etc = '/etc/microbosh-registry';
const data = '/var/lib/microbosh-registry';

describe('the package of the registry, on a machine that has nothing else, by its guide', () => {
  let place: EmptyRoot;
  let guide: Guide;
  let port: number;
  let pid = 0;

  beforeAll(async () => {
    const built = await registryPackage();
    guide = await Guide.read('docs/guide/registry-admin.md');
    port = await freePort();
    place = await EmptyRoot.create();
    for (const name of ['updates', 'info', 'triggers']) {
      await mkdir(place.path(`var/lib/dpkg/${name}`), { recursive: true });
    }
    // The package has to make its user itself, also on a machine that has had it once.
    for (const name of ['etc/passwd', 'etc/group', 'etc/shadow']) {
      const accounts = await readFile(place.path(name), 'utf8');
      await writeFile(place.path(name), accounts.replace(/^microbosh-registry:.*\n/gm, ''));
    }
    // What this machine's /usr holds is known there.
    await cp('/var/lib/dpkg/status', place.path('var/lib/dpkg/status'));
    await copyFile(built, place.path('root/microbosh-registry.deb'));
    await writeFile(place.path('root/password'), 's3cret\n', { mode: 0o600 });
    await mkdir(place.path('safe'), { mode: 0o700 });
    await mkdir(place.path('old'), { mode: 0o700 });
  });
  afterAll(async () => {
    stop('SIGKILL');
    await place.remove();
  });

  /** As the guide says it, but for the port: it may be in use on the machine of the test. */
  const follow = async (section: string): Promise<readonly Finished[]> =>
    guide.follow(section, (script) =>
      place.run(['sh', '-euc', script.replaceAll(':25777', `:${port}`)], 60_000),
    );
  const inside = async (script: string) =>
    (await place.succeed(['sh', '-euc', script.replaceAll('PORT', String(port))])).stdout.trim();
  const settings = (id: string) =>
    inside(
      `curl -sf --cacert ${etc}/ca.crt --netrc-file netrc https://127.0.0.1:PORT/instances/${id}/settings`,
    );
  const alive = () => {
    try {
      return pid !== 0 && process.kill(pid, 0);
    } catch {
      return false;
    }
  };
  const stop = (signal: NodeJS.Signals) => {
    if (alive()) process.kill(pid, signal);
  };
  /** What the unit starts, as its user, in a state directory like the one that systemd makes. */
  const startUnit = async () => {
    const unit = await inside('cat /lib/systemd/system/microbosh-registry.service');
    const of = (key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(unit)?.[1] ?? '';
    const user = of('User');
    await inside(`install -d -o ${user} -g ${of('Group')} -m ${of('StateDirectoryMode')} ${data}`);
    const as = `setpriv --reuid=${user} --regid=${of('Group')} --clear-groups`;
    await inside(`${as} ${of('ExecStartPre')}`);
    pid = Number(await inside(`${as} ${of('ExecStart')} >/tmp/registry.log 2>&1 & echo $!`));
  };
  const ready = () =>
    eventually(async () => {
      await inside(`curl -sf --cacert ${etc}/ca.crt https://127.0.0.1:PORT/readyz`);
    }, 10_000);

  it('installs, with its user, unit, manual page and a configuration that only it reads', async () => {
    const [, version, hash] = await follow('Install');

    expect(version?.stdout).toMatch(/\d+\.\d+/);
    expect(hash?.stdout).toMatch(/^scrypt\$/);
    expect(await inside(`stat -c '%a %U %G' ${etc}/registry.yml`)).toBe('640 root microbosh-registry');
    expect(await inside('zcat /usr/share/man/man8/microbosh-registry.8.gz')).toContain('MICROBOSH');
    const ca = await TestCa.create();
    const { certificate, privateKey } = await ca.issue('registry');
    const config = (file: string, more: object = {}) =>
      JSON.stringify({
        http: {
          address: '127.0.0.1',
          port,
          user: 'admin',
          password_hash: hash?.stdout.trim(),
          tls: { certificate: `${etc}/server.crt`, private_key: `${etc}/server.key` },
        },
        db: { adapter: 'sqlite', database: file },
        ...more,
      });
    await writeFile(place.path(`${etc}/registry.yml`), config(`${data}/registry.db`));
    await writeFile(
      place.path(`${etc}/new.yml`),
      config('/safe/new.db', { encryption: { key_file: `${data}/registry.db.key` } }),
    );
    await writeFile(place.path(`${etc}/ca.crt`), ca.certificate);
    await writeFile(place.path(`${etc}/server.crt`), certificate);
    await writeFile(place.path(`${etc}/server.key`), privateKey, { mode: 0o640 });
    await inside(`chgrp microbosh-registry ${etc}/server.key`);
    await writeFile(place.path('root/netrc'), 'machine 127.0.0.1 login admin password s3cret\n', {
      mode: 0o600,
    });
  });

  it('starts as its user with its configuration, and is ready', async () => {
    await startUnit();
    await ready();

    const [check, answer] = await follow('Start');

    expect(check?.stdout).toContain('the configuration is good');
    expect(answer?.stdout).toContain('ok');
    expect((await readFile(`/proc/${pid}/status`, 'utf8')).match(/^Uid:\s+(\d+)/m)?.[1]).toBe(
      await inside('id -u microbosh-registry'),
    );
  });

  it('does what the guide says while it serves', async () => {
    await inside(
      `curl -sf -X PUT --cacert ${etc}/ca.crt --netrc-file netrc --data '{"a":1}' https://127.0.0.1:PORT/instances/vm-1/settings`,
    );
    expect((await follow('Watch'))[1]?.stdout).toContain('microbosh_registry_');
    await follow('Back up and restore');
    const rotated = await follow('Change the key');
    expect(rotated[0]?.stdout).toContain('retired k');
    expect(rotated.at(-1)?.stdout).toContain('retired k');
    expect(await inside(`stat -c %U ${data}/registry.db.key ${data}/registry.db.key.retired`)).toBe(
      'microbosh-registry\nmicrobosh-registry',
    );
    await writeOriginal(place);
    const moved = await follow('Move');
    expect(moved.map(({ stdout }) => stdout).join('')).toMatch(
      /imported 1 instances[\s\S]*imported 1 instances/,
    );
    expect((await follow('Clean up')).length).toBe(1);

    expect(await settings('vm-1')).toContain('{\\"a\\":1}');
    expect(await settings('vm-old')).toContain('{\\"b\\":2}');
  });

  it('starts again under its user after all of that, and ends in order', async () => {
    stop('SIGTERM');
    await eventually(async () => expect(alive()).toBe(false), 15_000);
    await startUnit();
    await ready();
    expect(await settings('vm-old')).toContain('{\\"b\\":2}');
    stop('SIGTERM');
    await eventually(async () => expect(alive()).toBe(false), 15_000);
  });

  it('leaves nothing but data when it is purged', async () => {
    await inside(
      'mkdir -p /var/cache/microbosh-registry /var/log/microbosh-registry; touch /var/log/microbosh-registry/a',
    );

    await follow('Remove');

    const left = await inside("find / /usr -xdev -name '*microbosh*registry*' | sort");
    expect(left.split('\n')).toEqual([etc, '/root/microbosh-registry.deb', data]);
    expect((await readdir(place.path(etc))).sort()).toEqual([
      'ca.crt',
      'new.yml',
      'server.crt',
      'server.key',
    ]);
    expect((await stat(place.path(`${data}/registry.db`))).size).toBeGreaterThan(0);
  });

  it('has no command in its guide that is not run', () => {
    expect(guide.notRun).toEqual([]);
  });
});

/** What an original registry leaves: its configuration, its SQLite file, and a dump of it. */
async function writeOriginal(place: EmptyRoot): Promise<void> {
  const file = place.path('old/registry.db');
  const sql = [
    'CREATE TABLE registry_instances (id integer PRIMARY KEY AUTOINCREMENT, instance_id varchar(255) NOT NULL UNIQUE, settings text NOT NULL);',
    `INSERT INTO registry_instances VALUES(1,'vm-old','{"b":2}');`,
  ].join('\n');
  for (const path of [file, place.path(`${data}/registry.db`)]) {
    const database = new DatabaseSync(path);
    database.exec(sql);
    database.close();
  }
  await writeFile(`${dirname(file)}/dump.sql`, `${sql}\n`);
  await writeFile(
    `${dirname(file)}/registry.yml`,
    'http: {port: 25777, user: a, password: b}\ndb: {adapter: sqlite, database: /old/registry.db}\n',
  );
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
