import { execFile, spawn } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { promisify } from 'node:util';
import type { CallContext, Cpi } from '../../libs/cpi/src/index.ts';
import type { JsonObject } from '../../libs/errors/src/index.ts';
import type { NetworksSpec } from '../../libs/spec/src/index.ts';
import { timeMs } from '../result.ts';
import type { BenchResult, Figure } from '../result.ts';

const run = promisify(execFile);
const context: CallContext = { directorUuid: 'bench', requestId: 'r', stemcellApiVersion: 3 };
const maxMemoryMiB = 250;

/** Requests of the original per method, by its reference; the text when there is no number. */
export type OriginalCounts = Readonly<Record<string, number | string>>;

export interface BenchCloud {
  readonly name: 'aws' | 'vsphere' | 'vcloud';
  readonly cpi: Cpi;
  /** Requests so far, those of the login not counted. */
  readonly sent: () => number;
  /** `cloud.properties` of the executable. */
  readonly properties: JsonObject;
  readonly original: OriginalCounts;
  /** A stemcell's `image` that holds this file of so many bytes. */
  readonly image: (folder: string, disk: string, sizeBytes: number) => Promise<string>;
  readonly stemcellProperties: JsonObject;
  readonly vmProperties: JsonObject;
  readonly networks: NetworksSpec;
  /** Sends the file to where the CPI sends it, with curl; answers its arguments. */
  readonly curlArguments: (file: string) => Promise<readonly string[]>;
  readonly canResize: boolean;
}

export async function benchCloud(
  name: string,
  open: (work: string) => Promise<{ readonly cloud: BenchCloud; readonly close: () => Promise<void> }>,
): Promise<BenchResult> {
  const work = mkdtempSync(join(tmpdir(), `bench-${name}-`));
  try {
    const { cloud, close } = await open(work);
    try {
      const load = { label: 'load of the machine at the beginning', value: loadavg()[0] ?? 0, unit: '' };
      const figures = [load, ...(await requests(cloud, work)), ...(await upload(cloud, work))];
      return { name, figures };
    } finally {
      await close();
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Nothing in it can be left out or packed. */
function diskFile(folder: string, mebibytes: number): string {
  const path = join(folder, `disk-${mebibytes}`);
  const file = openSync(path, 'w');
  const block = randomFillSync(Buffer.alloc(1 << 20));
  for (let written = 0; written < mebibytes; written += 1) {
    block.writeUInt32LE(written, 0);
    writeSync(file, block);
  }
  return path;
}

async function requests(cloud: BenchCloud, work: string): Promise<Figure[]> {
  const { cpi, original, vmProperties, networks, stemcellProperties } = cloud;
  const small = await cloud.image(work, diskFile(work, 1), 1 << 20);
  const figures: Figure[] = [];
  const count = async <T>(method: string, call: () => Promise<T>): Promise<T> => {
    const before = cloud.sent();
    const result = await call();
    const label = `${method}: requests (the original ${original[method] ?? '?'})`;
    figures.push({ label, value: cloud.sent() - before, unit: '' });
    return result;
  };
  await cpi.hasVm(context, 'vm-00000000-0000-4000-8000-000000000000').catch(() => undefined);
  const stemcell = await count('create_stemcell', () =>
    cpi.createStemcell(context, small, stemcellProperties),
  );
  const { cid: vm } = await count('create_vm', () =>
    cpi.createVm(context, 'agent', stemcell, vmProperties, networks, [], {}),
  );
  await count('set_vm_metadata', () => cpi.setVmMetadata(context, vm, { name: 'x/0' }));
  await count('has_vm', () => cpi.hasVm(context, vm));
  const disk = await count('create_disk', () => cpi.createDisk(context, 1024, {}, vm));
  await count('attach_disk', () => cpi.attachDisk(context, vm, disk));
  await count('get_disks', () => cpi.getDisks(context, vm));
  await count('set_disk_metadata', () => cpi.setDiskMetadata(context, disk, { a: 'b' }));
  await count('detach_disk', () => cpi.detachDisk(context, vm, disk));
  if (cloud.canResize) await count('resize_disk', () => cpi.resizeDisk(context, disk, 2048));
  await count('reboot_vm', () => cpi.rebootVm(context, vm));
  await count('delete_vm', () => cpi.deleteVm(context, vm));
  await count('has_disk', () => cpi.hasDisk(context, disk));
  await count('delete_disk', () => cpi.deleteDisk(context, disk));
  await count('delete_stemcell', () => cpi.deleteStemcell(context, stemcell));
  return figures;
}

const uploadMiB = 400;
const largeMiB = 3072;

async function upload(cloud: BenchCloud, work: string): Promise<Figure[]> {
  const disk = diskFile(work, uploadMiB);
  const image = await cloud.image(work, disk, uploadMiB << 20);
  const curlArguments = await cloud.curlArguments(disk);
  const curl = await timeMs(() => run('curl', ['-sS', '--fail', '--noproxy', '*', ...curlArguments]));
  const unpack = await timeMs(() => run('tar', ['-xf', image, '-C', work]));
  const { ms } = await asExecutable(cloud, work, image);
  const large = diskFile(work, largeMiB);
  const largeImage = await cloud.image(work, large, largeMiB * 2 ** 20);
  rmSync(large);
  const { ms: largeMs, peakMiB } = await asExecutable(cloud, work, largeImage);
  return [
    { label: `curl -T of ${uploadMiB} MiB`, value: uploadMiB / (curl / 1000), unit: 'MiB/s' },
    { label: 'create_stemcell as an executable', value: uploadMiB / (ms / 1000), unit: 'MiB/s' },
    { label: 'create_stemcell beside tar -x, then curl -T', value: ms / (unpack + curl), unit: 'x' },
    { label: `create_stemcell of ${largeMiB} MiB`, value: largeMiB / (largeMs / 1000), unit: 'MiB/s' },
    {
      ...{ label: `memory of the executable at most, ${largeMiB} MiB`, value: peakMiB, unit: 'MiB' },
      aim: `<= ${maxMemoryMiB} MiB`,
    },
  ];
}

/** Creates a stemcell and deletes it; the time of the creation, and what the process had in memory at most. */
async function asExecutable(
  cloud: BenchCloud,
  work: string,
  image: string,
): Promise<{ readonly ms: number; readonly peakMiB: number }> {
  const config = join(work, 'cpi.json');
  const { name: plugin, properties } = cloud;
  writeFileSync(config, JSON.stringify({ cloud: { plugin, properties } }), { mode: 0o600 });
  const executable = join(import.meta.dirname, `../../bin/cpi-${plugin}`);
  const request = {
    method: 'create_stemcell',
    arguments: [image, cloud.stemcellProperties],
    context: { director_uuid: 'bench' },
    api_version: 2,
  };
  const child = spawn(executable, [config], { stdio: ['pipe', 'pipe', 'inherit'] });
  let peakKiB = 0;
  const watch = setInterval(() => {
    try {
      const status = readFileSync(`/proc/${child.pid ?? 0}/status`, 'utf8');
      peakKiB = Math.max(peakKiB, Number(/VmHWM:\s*(\d+)/.exec(status)?.[1] ?? 0));
    } catch {
      // It has ended.
    }
  }, 50);
  let answer = '';
  const ms = await timeMs(async () => {
    child.stdin.end(JSON.stringify(request));
    answer = await readAll(child.stdout);
  });
  clearInterval(watch);
  const { result, error } = JSON.parse(answer) as {
    result: string | null;
    error: { message: string } | null;
  };
  if (result === null) throw new Error(`create_stemcell: ${error?.message ?? answer}`);
  await cloud.cpi.deleteStemcell(context, result);
  return { ms, peakMiB: peakKiB / 1024 };
}

/** An image of an OVF and this disk; not compressed, so that the time is that of the transfer. */
export async function plainTar(folder: string, name: string, files: readonly string[]): Promise<string> {
  const path = join(folder, name);
  await run('tar', ['-cf', path, '-C', folder, ...files]);
  return path;
}
