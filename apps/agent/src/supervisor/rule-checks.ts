import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readdir, readFile, realpath, stat, statfs } from 'node:fs/promises';
import { cpus, loadavg } from 'node:os';
import { pipeline } from 'node:stream/promises';
import { deviceNumber } from '../disks/block-device.ts';
import { MountTable, type MountEntry } from '../platform/mount-table.ts';
import { which } from '../platform/which.ts';
import { cpuTimes } from '../vitals/vitals.ts';
import { connectionProblem } from './connection-check.ts';
import {
  compare,
  type ChangeableFact,
  type ControlResource,
  type ControlService,
  type ControlTest,
} from './control-language.ts';
import { processTree, totalMemoryKb, uptimeSecs, type ProcessFacts } from './process-table.ts';
import { runProgram } from './run-program.ts';

/** What is known about a service when its rules are looked at. */
export interface Observation {
  readonly facts: ProcessFacts | undefined;
  /** Of the whole machine, in percent. */
  readonly cpu: number;
  /** Exit code of `check program`. */
  readonly exitCode: number | undefined;
  readonly restartsWithin: (cycles: number) => number;
}

/** What a rule remembers from one look to the next. */
export interface RuleMemory {
  value?: string;
  /** What was found, when the condition alone does not say it. */
  finding?: string | undefined;
}

/** Files above this are not summed at each cycle. */
const maxContentBytes = 64 * 1024 * 1024;
/** Of a file that is searched for new lines, in one cycle. */
const maxNewBytes = 1024 * 1024;

/** True when the condition of a rule holds, which is what its reaction is for. */
export async function conditionHolds(
  service: ControlService,
  test: ControlTest,
  seen: Observation,
  memory: RuleMemory,
): Promise<boolean> {
  switch (test.kind) {
    case 'unsupported':
      return false;
    case 'restarts':
      return seen.restartsWithin(test.within) >= test.count;
    case 'exists': {
      const present =
        service.kind === 'process' ? seen.facts !== undefined : await pathExists(service.target);
      return test.negated ? !present : present;
    }
    case 'connection':
      memory.finding = await tried(test.tries, () => connectionProblem(test));
      return memory.finding !== undefined;
    case 'ping':
      return !(await pings(service.target, test));
    case 'resource': {
      const value = await measure(service, test.resource, test.unit, seen, memory);
      return value !== undefined && compare(value, test.comparison, test.value);
    }
    case 'status':
      return seen.exitCode !== undefined && compare(seen.exitCode, test.comparison, test.value);
    case 'changed':
      return changed(await fingerprint(service, test.what, seen), memory);
    case 'checksum': {
      const sum = await checksumOf(service.target, test.algorithm);
      if (sum === undefined) return false;
      memory.value ??= sum;
      memory.finding = sum;
      return sum !== (test.wanted ?? memory.value);
    }
    case 'permission':
      return statOf(service.target, ({ mode }) => {
        memory.finding = octal(mode);
        return (mode & 0o7777) !== test.mode;
      });
    case 'owner': {
      const wanted = await numericId(test.what, test.wanted);
      const found = await ownerOf(service, test.what, seen.facts);
      memory.finding = found === undefined ? undefined : String(found);
      return found !== undefined && found !== wanted;
    }
    case 'content':
      return matchesNewLines(service.target, test, memory);
  }
}

/** monit's name of what such a rule reports. */
export function eventOf(test: ControlTest): string {
  switch (test.kind) {
    case 'resource':
      return test.resource === 'size'
        ? 'size failed'
        : test.resource === 'age'
          ? 'timestamp failed'
          : 'resource limit matched';
    case 'restarts':
      return 'timeout';
    case 'connection':
      return 'connection failed';
    case 'ping':
      return 'icmp failed';
    case 'exists':
      return test.negated ? 'does not exist' : 'exists';
    case 'status':
      return 'status failed';
    case 'changed':
      return test.what === 'fsflags' ? 'filesystem flags changed' : `${test.what} changed`;
    case 'permission':
      return 'permission failed';
    case 'owner':
      return test.what === 'gid' ? 'gid failed' : 'uid failed';
    case 'checksum':
      return 'checksum failed';
    case 'content':
      return 'content failed';
    case 'unsupported':
      return 'unsupported';
  }
}

export function describeTest(test: ControlTest, { finding }: RuleMemory): string {
  return finding === undefined ? conditionText(test) : `${conditionText(test)}: ${finding}`;
}

function conditionText(test: ControlTest): string {
  switch (test.kind) {
    case 'resource':
      return `${test.resource} ${test.comparison} ${test.value}${test.unit === 'percent' ? '%' : test.unit === 'bytes' ? ' B' : ''}`;
    case 'connection':
      return `failed ${test.http ? 'http' : test.transport} at ${'path' in test.to ? test.to.path : `${test.to.host}:${test.to.port}`}`;
    case 'ping':
      return 'no answer to ping';
    case 'restarts':
      return `service restarted ${test.count} times within ${test.within} cycles`;
    case 'status':
      return `exit status ${test.comparison} ${test.value}`;
    case 'changed':
      return `${test.what} changed`;
    case 'permission':
      return `permission is not ${test.mode.toString(8)}`;
    case 'owner':
      return `${test.what} is not ${test.wanted}`;
    case 'checksum':
      return `checksum is not ${test.wanted ?? 'what it was'}`;
    case 'content':
      return `content ${test.negated ? 'does not match' : 'matches'} ${test.pattern}`;
    case 'exists':
      return test.negated ? 'does not exist' : 'exists';
    case 'unsupported':
      return test.text;
  }
}

async function measure(
  { target }: ControlService,
  resource: ControlResource,
  unit: 'percent' | 'bytes' | 'count',
  { facts, cpu }: Observation,
  memory: RuleMemory,
): Promise<number | undefined> {
  switch (resource) {
    case 'load1':
    case 'load5':
    case 'load15':
      return loadavg()[['load1', 'load5', 'load15'].indexOf(resource)];
    case 'cpu-user':
    case 'cpu-system':
    case 'cpu-wait':
      return machineShare(resource, memory);
    case 'swap':
      return swapUse(unit);
    case 'space':
    case 'space-free':
    case 'inode':
    case 'inode-free':
      return diskUse(target, resource, unit);
    case 'size':
      return statOf(target, ({ size }) => size, undefined);
    case 'age':
      return statOf(target, ({ mtimeMs }) => (Date.now() - mtimeMs) / 1_000, undefined);
    case 'uptime':
      return facts ? uptimeSecs(facts) : Number((await readFile('/proc/uptime', 'utf8')).split(' ')[0]);
    case 'cpu':
    case 'totalcpu':
      return facts ? cpu : undefined;
    case 'threads':
      return facts ? countIn(`/proc/${facts.pid}/task`) : undefined;
    case 'files':
      return facts ? countIn(`/proc/${facts.pid}/fd`) : undefined;
    case 'children':
      return facts ? (await processTree(facts)).length - 1 : undefined;
    case 'memory':
    case 'totalmemory': {
      if (!facts) return memoryUse(unit);
      const tree = resource === 'memory' ? [facts] : await processTree(facts);
      const kb = tree.reduce((sum, member) => sum + member.rssKb, 0);
      return unit === 'percent' ? (kb / (await totalMemoryKb())) * 100 : kb * 1_024;
    }
  }
}

/** The five fields of cron: minute, hour, day of month, month, day of week; `*`, lists, ranges, steps. */
export function matchesCron(cron: string, at: Date): boolean {
  const values = [at.getMinutes(), at.getHours(), at.getDate(), at.getMonth() + 1, at.getDay()];
  return cron.split(/\s+/).every((field, index) => {
    const value = values[index] ?? 0;
    return field.split(',').some((part) => {
      const [range = '*', step] = part.split('/');
      const [from, to] = range === '*' ? [0, 59] : range.split('-').map(Number);
      const low = from ?? 0;
      const high = to ?? (step === undefined ? low : 59);
      // Sunday is 0 and 7.
      const candidates = index === 4 && value === 0 ? [0, 7] : [value];
      return candidates.some(
        (candidate) => candidate >= low && candidate <= high && (candidate - low) % Number(step ?? 1) === 0,
      );
    });
  });
}

/** Undefined as soon as there is no problem, else the last one. */
async function tried(tries: number, run: () => Promise<string | undefined>): Promise<string | undefined> {
  let problem: string | undefined;
  for (let attempt = 0; attempt < tries; attempt += 1) {
    problem = await run();
    if (problem === undefined) return undefined;
  }
  return problem;
}

/** On a machine without the program the control file is refused. */
export const pingProgram = 'ping';

async function pings(
  host: string,
  { count, timeoutMs, bytes, family }: ControlTest & { readonly kind: 'ping' },
): Promise<boolean> {
  const program = await which(pingProgram);
  if (program === undefined) return false;
  const options = [
    ...['-n', '-q', '-c', '1', '-W', String(Math.max(1, Math.ceil(timeoutMs / 1_000)))],
    ...(bytes === undefined ? [] : ['-s', String(bytes)]),
    ...(family === undefined ? [] : [`-${family}`]),
  ];
  for (let attempt = 0; attempt < count; attempt += 1) {
    const { failure } = await runProgram({
      argv: [program, ...options, '--', host],
      timeoutMs: timeoutMs + 2_000,
    });
    if (failure === undefined) return true;
  }
  return false;
}

function changed(now: string | undefined, memory: RuleMemory): boolean {
  const before = memory.value;
  if (now === undefined) return false;
  memory.value = now;
  return before !== undefined && before !== now;
}

async function fingerprint(
  service: ControlService,
  what: ChangeableFact,
  { facts, exitCode }: Observation,
): Promise<string | undefined> {
  const { target } = service;
  switch (what) {
    case 'pid':
      return facts && String(facts.pid);
    case 'ppid':
      return facts && String(facts.ppid);
    case 'status':
      return exitCode === undefined ? undefined : String(exitCode);
    case 'timestamp':
      return statOf(target, ({ mtimeMs }) => String(mtimeMs), undefined);
    case 'size':
      return statOf(target, ({ size }) => String(size), undefined);
    case 'checksum':
      return checksumOf(target, 'sha1');
    case 'permission':
      return statOf(target, ({ mode }) => octal(mode), undefined);
    case 'uid':
    case 'gid': {
      const id = await ownerOf(service, what, facts);
      return id === undefined ? undefined : String(id);
    }
    case 'fsflags':
      return (await mountOf(target))?.options.join();
  }
}

async function checksumOf(path: string, algorithm: 'md5' | 'sha1'): Promise<string | undefined> {
  const size = await statOf(path, (found) => (found.isFile() ? found.size : undefined), undefined);
  if (size === undefined || size > maxContentBytes) return undefined;
  const hash = createHash(algorithm);
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

function octal(mode: number): string {
  return (mode & 0o7777).toString(8).padStart(4, '0');
}

/** Of a process, its real or effective ids, else those of the path. */
async function ownerOf(
  service: ControlService,
  what: 'uid' | 'euid' | 'gid',
  facts: ProcessFacts | undefined,
): Promise<number | undefined> {
  if (service.kind !== 'process') {
    return statOf(service.target, (found) => (what === 'gid' ? found.gid : found.uid), undefined);
  }
  if (!facts) return undefined;
  const status = await readFile(`/proc/${facts.pid}/status`, 'utf8').catch(() => '');
  const [, real, effective] =
    new RegExp(`^${what === 'gid' ? 'Gid' : 'Uid'}:\\s+(\\d+)\\s+(\\d+)`, 'm').exec(status) ?? [];
  const id = what === 'euid' ? effective : real;
  return id === undefined ? undefined : Number(id);
}

async function statOf<T>(
  path: string,
  read: (
    found: Awaited<ReturnType<typeof stat>> & {
      mtimeMs: number;
      rdev: number;
      mode: number;
      size: number;
      uid: number;
      gid: number;
    },
  ) => T,
  otherwise?: T,
): Promise<T> {
  return stat(path).then(read, () => otherwise as T);
}

async function numericId(what: 'uid' | 'euid' | 'gid', wanted: string): Promise<number> {
  if (/^\d+$/.test(wanted)) return Number(wanted);
  const table = await readFile(what === 'gid' ? '/etc/group' : '/etc/passwd', 'utf8');
  const line = table.split('\n').find((entry) => entry.startsWith(`${wanted}:`));
  return line === undefined ? -1 : Number(line.split(':')[2]);
}

/**
 * As monit: only lines that came since the last look, from the end of the file at the first one; from the start when
 * another file has its name or it was cut.
 */
async function matchesNewLines(
  path: string,
  { pattern, negated }: { readonly pattern: string; readonly negated: boolean },
  memory: RuleMemory,
): Promise<boolean> {
  const found = await statOf(path, ({ ino, size }) => ({ ino, size }), undefined);
  if (!found) return false;
  const [ino, position] = (memory.value ?? `${found.ino} ${found.size}`).split(' ').map(Number);
  const from = ino === found.ino && position !== undefined && position <= found.size ? position : 0;
  const text = await readFrom(path, from);
  // A line that does not end is taken in pieces.
  const end = text.lastIndexOf(0x0a) + 1 || (text.length === maxNewBytes ? maxNewBytes : 0);
  memory.value = `${found.ino} ${from + end}`;
  const expression = new RegExp(pattern);
  const line = text
    .toString('utf8', 0, end)
    .replace(/\n$/, '')
    .split('\n')
    .find((each) => end > 0 && expression.test(each) !== negated);
  memory.finding = line === undefined ? undefined : line.slice(0, 200);
  return line !== undefined;
}

async function readFrom(path: string, start: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const stream = createReadStream(path, { start, end: start + maxNewBytes - 1 });
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Where a device is mounted, or what a path lies on; undefined for a device that is mounted nowhere. */
export async function mountOf(path: string): Promise<MountEntry | undefined> {
  const real = await realpath(path).catch(() => undefined);
  if (real === undefined) return undefined;
  const table = await MountTable.read();
  const device = await statOf(
    real,
    (found) => (found.isBlockDevice() ? deviceNumber(found.rdev) : undefined),
    undefined,
  );
  if (device !== undefined) return table.of(device)[0];
  const isBelow = (mountPoint: string) =>
    real === mountPoint || real.startsWith(mountPoint === '/' ? '/' : `${mountPoint}/`);
  const nearest = Math.max(
    ...table.entries.map(({ mountPoint }) => (isBelow(mountPoint) ? mountPoint.length : 0)),
  );
  return table.entries.findLast(({ mountPoint }) => isBelow(mountPoint) && mountPoint.length === nearest);
}

async function pathExists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function countIn(dir: string): Promise<number | undefined> {
  return readdir(dir).then(
    (names) => names.length,
    () => undefined,
  );
}

async function machineShare(
  resource: 'cpu-user' | 'cpu-system' | 'cpu-wait',
  memory: RuleMemory,
): Promise<number> {
  const now = cpuTimes(await readFile('/proc/stat', 'utf8'));
  const before = memory.value === undefined ? undefined : (JSON.parse(memory.value) as typeof now);
  memory.value = JSON.stringify(now);
  const key = resource === 'cpu-user' ? 'user' : resource === 'cpu-system' ? 'sys' : 'wait';
  const total = now.total - (before?.total ?? now.total);
  return total <= 0 ? 0 : ((now[key] - (before?.[key] ?? 0)) * 100) / total;
}

async function meminfoKb(...names: readonly string[]): Promise<readonly number[]> {
  const text = await readFile('/proc/meminfo', 'utf8');
  return names.map((name) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1] ?? 0));
}

async function memoryUse(unit: string): Promise<number> {
  const [total = 1, available = 0] = await meminfoKb('MemTotal', 'MemAvailable');
  return unit === 'percent' ? ((total - available) / total) * 100 : (total - available) * 1_024;
}

async function swapUse(unit: string): Promise<number> {
  const [total = 0, free = 0] = await meminfoKb('SwapTotal', 'SwapFree');
  if (unit === 'percent') return total === 0 ? 0 : ((total - free) / total) * 100;
  return (total - free) * 1_024;
}

async function diskUse(
  path: string,
  resource: 'space' | 'space-free' | 'inode' | 'inode-free',
  unit: string,
): Promise<number | undefined> {
  const mount = await mountOf(path);
  const info = mount && (await statfs(mount.mountPoint).catch(() => undefined));
  if (!info) return undefined;
  const isSpace = resource.startsWith('space');
  const [total, free] = isSpace ? [info.blocks, info.bavail] : [info.files, info.ffree];
  const amount = resource.endsWith('-free') ? free : total - free;
  if (unit === 'percent') return total === 0 ? 0 : (amount / total) * 100;
  return isSpace ? amount * info.bsize : amount;
}

/** CPUs over which a process's share is spread. */
export const cpuCount = cpus().length;
