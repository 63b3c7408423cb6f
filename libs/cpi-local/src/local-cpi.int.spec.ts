import { access, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  contractChecks,
  processChecks,
  ProcessCpi,
  type CallContext,
  type Cpi,
  type CpiExtensions,
} from '@microbosh/cpi';
import type { JsonObject } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';
import type { NetworksSpec } from '@microbosh/spec';
import { createLocalCpi } from './local-cpi.ts';
import { tracesOf } from './testing/machine-traces.ts';
import { runInVm } from './testing/run-in-vm.ts';
import { removeEnvironments } from './testing/remove-environments.ts';
import { countStarts, makeShellStemcell } from './testing/shell-stemcell.ts';

const runner = new NodeCommandRunner();
const mainPath = join(import.meta.dirname, 'main.ts');
const absent = {
  vm: 'vm-00000000-0000-4000-8000-000000000000',
  disk: 'disk-00000000-0000-4000-8000-000000000000',
  stemcell: 'stemcell-00000000-0000-4000-8000-000000000000',
};

let directory: string;
let image: string;
let executable: string;

beforeAll(async () => {
  directory = await mkdtemp('/var/tmp/microbosh-cpi-local-');
  image = await makeShellStemcell(directory);
  executable = join(directory, 'cpi');
  await writeFile(
    executable,
    `#!/bin/sh\nexport NODE_COMPILE_CACHE=${join(directory, 'cache')}\nexec ${process.execPath} ${mainPath} "$@"\n`,
    { mode: 0o755 },
  );
});

afterAll(() => removeEnvironments(directory));

function networksOf(third: number, host = 5): NetworksSpec {
  return {
    default: {
      type: 'manual',
      ip: `10.251.${third}.${host}`,
      netmask: '255.255.255.0',
      gateway: `10.251.${third}.1`,
      dns: ['10.251.0.9'],
      default: ['dns', 'gateway'],
    },
  };
}

function configOf(name: string): { cloud: { plugin: string; properties: JsonObject } } {
  return { cloud: { plugin: 'local', properties: { local: { root_dir: join(directory, name) } } } };
}

let calls = 0;
function context(token?: string): CallContext {
  calls += 1;
  const requestId = `cpi-${calls}`;
  return { directorUuid: 'd', requestId, stemcellApiVersion: 3, ...(token !== undefined && { token }) };
}

async function vmWithDisk(cpi: Cpi, networks: NetworksSpec, sizeMiB = 64) {
  const stemcell = await cpi.createStemcell(context(), image, { kind: 'host-rootfs' });
  const { cid: vm } = await cpi.createVm(
    context(),
    'agent',
    stemcell,
    { ephemeral_disk: 64 },
    networks,
    [],
    {},
  );
  const disk = await cpi.createDisk(context(), sizeMiB, {}, vm);
  await cpi.attachDisk(context(), vm, disk);
  return { stemcell, vm, disk };
}

async function removeAll(cpi: Cpi, made: { stemcell: string; vm: string; disk: string }): Promise<void> {
  await cpi.deleteVm(context(), made.vm);
  await cpi.deleteDisk(context(), made.disk);
  await cpi.deleteStemcell(context(), made.stemcell);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

async function leavesNothing(root: string): Promise<void> {
  const traces = await tracesOf(root);
  expect(traces).toEqual({
    mounts: [],
    loops: [],
    links: [],
    processes: [],
    controlGroups: [],
  });
  expect(await exists(root)).toBe(false);
}

describe.each([
  ['in process', 21, (name: string): Cpi & CpiExtensions => createLocalCpi(configOf(name))],
  [
    'as an executable',
    22,
    (name: string): Cpi & CpiExtensions =>
      new ProcessCpi({ executable, args: [join(directory, `${name}.json`)], sendsToken: true }),
  ],
] as const)('local CPI %s', (_form, third, make) => {
  const name = `contract-${third}`;
  beforeAll(async () => {
    await writeFile(join(directory, `${name}.json`), JSON.stringify(configOf(name)));
  });

  describe('keeps the CPI contract', () => {
    const checks = contractChecks(
      lazily(() => make(name)),
      {
        get imagePath() {
          return image;
        },
        stemcellCloudProperties: { infrastructure: 'local', kind: 'host-rootfs' },
        vmCloudProperties: { ephemeral_disk: 64 },
        networks: networksOf(third),
        diskCloudProperties: {},
        diskSizeMiB: 64,
        knowsTokens: true,
        absent,
      },
    );
    for (const check of checks) it(check.name, () => check.run());
  });

  it('leaves nothing on the machine after everything is deleted', async () => {
    await leavesNothing(join(directory, name));
  });
});

/** The suite is listed before the temporary directory is made. */
function lazily(make: () => Cpi): Cpi {
  let made: Cpi | undefined;
  return new Proxy({} as Cpi, {
    get: (_, property) => {
      made ??= make();
      const member: unknown = Reflect.get(made, property, made);
      return typeof member === 'function' ? (member.bind(made) as unknown) : member;
    },
  });
}

describe('local CPI executable', () => {
  const config = () => join(directory, 'process.json');
  beforeAll(() => writeFile(config(), JSON.stringify(configOf('process'))));

  const checks = processChecks({
    get argv(): [string, ...string[]] {
      return [executable, config()];
    },
    absentVmCid: absent.vm,
  });
  for (const check of checks) it(check.name, () => check.run());
});

describe('a local VM', () => {
  it('has its own host name, address, process tree and /etc, and reaps orphans', async () => {
    const root = join(directory, 'inside');
    const cpi = createLocalCpi(configOf('inside'));
    const made = await vmWithDisk(cpi, networksOf(31));

    const look = await runInVm(
      root,
      made.vm,
      [
        'hostname',
        'ip -4 -oneline address show dev eth0 | grep -c 10.251.31.5/24',
        'echo $(ip route show default)',
        'echo $(ls /root /home)',
        'grep -c "^root:\\*" /etc/shadow',
        'sleep 0.3; cat /proc/[0-9]*/stat | grep -c ") Z " || true',
        'cat /proc/1/comm',
        'touch /proc/sys/kernel/hostname 2>/dev/null && echo writable || echo read-only',
      ].join('\n'),
    );
    await removeAll(cpi, made);

    expect(look.split('\n')).toEqual([
      made.vm,
      '1',
      'default via 10.251.31.1 dev eth0',
      '/home: syslog vcap /root:',
      '1',
      '0',
      'bash',
      'read-only',
    ]);
  });

  it('lacks the capabilities that reach the clock, modules, raw I/O and the power switch', async () => {
    const root = join(directory, 'capabilities');
    const cpi = createLocalCpi(configOf('capabilities'));
    const made = await vmWithDisk(cpi, networksOf(32));

    const status = await runInVm(root, made.vm, 'cat /proc/1/status');
    await removeAll(cpi, made);

    const bounding = BigInt(`0x${/CapBnd:\s*([0-9a-f]+)/.exec(status)?.[1] ?? 'f'}`);
    // CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_BOOT, CAP_SYS_TIME, CAP_SYSLOG
    for (const bit of [16n, 17n, 22n, 25n, 34n]) expect((bounding >> bit) & 1n).toBe(0n);
  });

  it('sees neither keys and memory of the machine nor its control groups, and writes to no knob of it', async () => {
    const root = join(directory, 'masked');
    const cpi = createLocalCpi(configOf('masked'));
    const made = await vmWithDisk(cpi, networksOf(35));

    const look = await runInVm(
      root,
      made.vm,
      [
        'for f in kcore keys kmsg sysrq-trigger timer_list; do [ ! -e /proc/$f ] || head -c 1 /proc/$f | wc -c; done | sort -u',
        'ls -A /sys/firmware /sys/fs/cgroup | grep -v : | grep -c . || true',
        'for f in /proc/sys/kernel/x /proc/irq/x /sys/x; do touch $f 2>/dev/null && echo wrote; done; echo none',
        'ls -d /etc/ssh /root/.ssh /etc/ssl/private /home/*/.ssh 2>/dev/null | wc -l',
      ].join('\n'),
    );
    const namespaces = await runner.run([
      ...(['sh', '-c', 'for n in mnt pid net uts ipc cgroup; do readlink /proc/self/ns/$n; done'] as const),
    ]);
    const inside = await runInVm(
      root,
      made.vm,
      'for n in mnt pid net uts ipc cgroup; do readlink /proc/1/ns/$n; done',
    );
    await removeAll(cpi, made);

    expect(look.split('\n')).toEqual(['0', '0', 'none', '0']);
    const outside = new Set(namespaces.stdout.trim().split('\n'));
    expect(inside.split('\n')).toHaveLength(6);
    for (const namespace of inside.split('\n')) expect(outside).not.toContain(namespace);
  });

  it('outlives the call that made it, and comes up again with its disks and data after reboot_vm', async () => {
    const root = join(directory, 'reboot');
    await writeFile(join(directory, 'reboot.json'), JSON.stringify(configOf('reboot')));
    const cpi = new ProcessCpi({ executable, args: [join(directory, 'reboot.json')] });
    const made = await vmWithDisk(cpi, networksOf(33));
    const device = `/dev/disk/by-id/microbosh-${made.disk}`;
    await runInVm(
      root,
      made.vm,
      `mkfs.ext4 -q ${device} && mount ${device} /mnt && echo kept > /mnt/data && sync`,
    );
    await runInVm(root, made.vm, 'echo mine > /var/vcap/mine; echo own > /usr/local/own');
    await runInVm(root, made.vm, countStarts(1));

    await cpi.rebootVm(context(), made.vm);
    const after = await runInVm(
      root,
      made.vm,
      `mount ${device} /mnt && cat /mnt/data /var/vcap/mine /usr/local/own; ${countStarts(2)}`,
    );
    await runInVm(root, made.vm, 'umount /mnt');
    await removeAll(cpi, made);

    expect(after.split('\n')).toEqual(['kept', 'mine', 'own', '2']);
    expect(await exists('/usr/local/own')).toBe(false);
  });

  it('starts its agent again when it ends', async () => {
    const root = join(directory, 'restart');
    const cpi = createLocalCpi(configOf('restart'));
    const made = await vmWithDisk(cpi, networksOf(34));

    await runInVm(root, made.vm, countStarts(1));
    await runInVm(root, made.vm, 'read -r agent _ < /proc/1/task/1/children || true; kill -9 $agent');
    const starts = await runInVm(root, made.vm, countStarts(2));
    await removeAll(cpi, made);

    expect(starts).toBe('2');
  });
});

describe('a persistent disk', () => {
  it('keeps its data through partitions, detach, a new loop device and another VM', async () => {
    const root = join(directory, 'disk');
    const cpi = createLocalCpi(configOf('disk'));
    const made = await vmWithDisk(cpi, networksOf(41));
    const device = `/dev/disk/by-id/microbosh-${made.disk}`;
    const nodes = `loop=$(readlink -f ${device}); name=\${loop#/dev/}; partx -a $loop 2>/dev/null || partx -u $loop; IFS=: read -r major minor < /sys/block/$name/\${name}p1/dev; rm -f /dev/p1; mknod /dev/p1 b $major $minor`;
    await runInVm(
      root,
      made.vm,
      `set -e; echo 'type=83' | sfdisk -q --no-reread --no-tell-kernel ${device}; ${nodes}; mkfs.ext4 -q /dev/p1; mount /dev/p1 /mnt; echo kept > /mnt/data; umount /mnt`,
    );
    await cpi.detachDisk(context(), made.vm, made.disk);
    const between = await runner.run(['losetup', '-a']);
    await cpi.deleteVm(context(), made.vm);
    // Another file takes the loop device in between: no partition of the old one may show through.
    const other = await cpi.createDisk(context(), 64, {}, null);
    const { cid: second } = await cpi.createVm(
      context(),
      'agent',
      made.stemcell,
      { ephemeral_disk: 64 },
      networksOf(41, 6),
      [],
      {},
    );
    await cpi.attachDisk(context(), second, other);
    const foreign = await runInVm(
      root,
      second,
      `name=$(basename $(readlink -f /dev/disk/by-id/microbosh-${other})); ls -d /sys/block/$name/\${name}p* 2>/dev/null | wc -l`,
    );
    await cpi.attachDisk(context(), second, made.disk);

    const data = await runInVm(
      root,
      second,
      `set -e; ${nodes}; mount /dev/p1 /mnt; cat /mnt/data; umount /mnt`,
    );
    await cpi.deleteVm(context(), second);
    await cpi.deleteDisk(context(), other);
    await removeAll(cpi, made);

    expect(between.stdout).not.toContain(made.disk);
    expect(foreign).toBe('0');
    expect(data).toBe('kept');
  });

  it('is neither detached while the VM has it mounted nor given to a second VM', async () => {
    const root = join(directory, 'mounted');
    const cpi = createLocalCpi(configOf('mounted'));
    const made = await vmWithDisk(cpi, networksOf(42));
    const device = `/dev/disk/by-id/microbosh-${made.disk}`;
    await runInVm(root, made.vm, `mkfs.ext4 -q ${device} && mount ${device} /mnt`);
    const { cid: second } = await cpi.createVm(
      context(),
      'agent',
      made.stemcell,
      { ephemeral_disk: 64 },
      networksOf(42, 6),
      [],
      {},
    );

    await expect(cpi.detachDisk(context(), made.vm, made.disk)).rejects.toThrow(/mounted at \/mnt/);
    await expect(cpi.attachDisk(context(), second, made.disk)).rejects.toThrow(/attached to VM/);

    await cpi.deleteVm(context(), second);
    await removeAll(cpi, made);
  });

  it('is refused when the file system has no room for it', async () => {
    const cpi = createLocalCpi(configOf('room'));

    await expect(cpi.createDisk(context(), 2 ** 30, {}, null)).rejects.toMatchObject({
      type: 'Bosh::Clouds::NoDiskSpace',
    });

    expect(await exists(join(directory, 'room'))).toBe(false);
  });
});

describe('networks', () => {
  it('refuse a subnet that this machine routes already', async () => {
    const cpi = createLocalCpi(configOf('routed'));
    const { stdout } = await runner.run(['ip', '-4', '-oneline', 'address', 'show', 'dev', 'lo']);
    expect(stdout).toContain('127.0.0.1');

    await expect(
      cpi.hostAddress?.(context(), {
        default: { type: 'manual', ip: '127.0.0.9', netmask: '255.255.255.0', gateway: '127.0.0.1' },
      }),
    ).rejects.toThrow(/already routes/);
  });

  it('give the host an address that a VM reaches, and take it back with the last VM', async () => {
    const root = join(directory, 'host-address');
    const cpi = createLocalCpi(configOf('host-address'));

    const address = await cpi.hostAddress?.(context(), networksOf(51));
    const made = await vmWithDisk(cpi, networksOf(51));
    const server = createServer((socket) => socket.end('hello from the host\n'));
    await new Promise<void>((resolve) => server.listen(0, address, resolve));
    const port = (server.address() as AddressInfo).port;
    const reached = await runInVm(root, made.vm, `cat < /dev/tcp/10.251.51.1/${port}`);
    server.close();
    await removeAll(cpi, made);
    await cpi.dispose?.();

    expect(address).toBe('10.251.51.1');
    expect(reached).toBe('hello from the host');
    await leavesNothing(root);
  });

  it('refuse an address that another VM has', async () => {
    const cpi = createLocalCpi(configOf('taken'));
    const made = await vmWithDisk(cpi, networksOf(52));

    await expect(cpi.createVm(context(), 'agent', made.stemcell, {}, networksOf(52), [], {})).rejects.toThrow(
      /in use by VM/,
    );
    expect(await cpi.hasVm(context(), made.vm)).toBe(true);

    await removeAll(cpi, made);
  });

  it('of two environments do not disturb each other', async () => {
    const [a, b] = ['side-a', 'side-b'].map((name) => createLocalCpi(configOf(name)));
    if (a === undefined || b === undefined) throw new Error('two CPIs');
    const [first, second] = await Promise.all([vmWithDisk(a, networksOf(53)), vmWithDisk(b, networksOf(54))]);

    await removeAll(a, first);
    const survivor = await runInVm(
      join(directory, 'side-b'),
      second.vm,
      'ip -4 -oneline address show dev eth0',
    );
    await expect(b.hasVm(context(), second.vm)).resolves.toBe(true);
    await removeAll(b, second);

    expect(survivor).toContain('10.251.54.5/24');
  });
});

describe('bad input', () => {
  it('is answered with one sentence and leaves nothing', async () => {
    const root = join(directory, 'bad');
    const cpi = createLocalCpi(configOf('bad'));
    const notArchive = join(directory, 'not-an-archive');
    await writeFile(notArchive, 'no archive');

    await expect(cpi.createStemcell(context(), notArchive, { kind: 'host-rootfs' })).rejects.toThrow();
    await expect(cpi.createStemcell(context(), '/no/such/image', null)).rejects.toThrow(/cannot be read/);
    await expect(cpi.createVm(context(), 'a', absent.stemcell, {}, networksOf(61), [], {})).rejects.toThrow();
    await expect(cpi.createDisk(context(), 0, {}, null)).rejects.toThrow(/positive/);
    await expect(
      cpi.createVm(context(), 'a', absent.stemcell, {}, { n: { type: 'vip', ip: '10.0.0.1' } }, [], {}),
    ).rejects.toThrow();

    await leavesNothing(root);
  });

  it('a failed create_vm leaves neither devices nor files', async () => {
    const root = join(directory, 'half');
    const config = configOf('half');
    const cpi = createLocalCpi({
      cloud: {
        ...config.cloud,
        properties: {
          ...config.cloud.properties,
          registry: { endpoint: 'http://127.0.0.1:9', user: 'u', password: 'secret-word' },
        },
      },
    });
    const stemcell = await cpi.createStemcell(context(), image, { kind: 'host-rootfs' });

    await expect(cpi.createVm(context(), 'a', stemcell, {}, networksOf(62), [], {})).rejects.toThrow(
      /registry at http:\/\/127.0.0.1:9 does not answer/,
    );
    await cpi.deleteStemcell(context(), stemcell);

    await leavesNothing(root);
  });
});

describe('the stemcell', () => {
  it('is not changed by what its VMs write', async () => {
    const root = join(directory, 'immutable');
    const cpi = createLocalCpi(configOf('immutable'));
    const made = await vmWithDisk(cpi, networksOf(71));
    const file = join(root, 'stemcells', made.stemcell, 'files/var/vcap/bosh/bin/microbosh-agent');
    const before = await readFile(file, 'utf8');

    await runInVm(
      root,
      made.vm,
      'echo changed > /var/vcap/bosh/bin/microbosh-agent; echo x >> /var/vcap/bosh/bin/node || true',
    );
    const after = await readFile(file, 'utf8');
    await removeAll(cpi, made);

    expect(after).toBe(before);
  });
});
