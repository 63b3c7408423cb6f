import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { bootStemcell } from '../e2e/labs/qemu/boot-flavour.ts';
import { succeed } from '../e2e/support/commands.ts';
import { Example } from '../e2e/support/example.ts';
import { buildStemcell, flavouredStemcell, stemcellCache } from '../e2e/support/full-stemcell.ts';
import { QemuView } from '../e2e/support/qemu-example.ts';
import { overheadOfRecreation } from './recreation.ts';
import { timeMs, type BenchResult, type Figure } from './result.ts';

/** A machine of QEMU, emulated, from its start until its agent answers, and where the time goes. */
export async function run(): Promise<BenchResult> {
  const stemcell = await flavouredStemcell('qemu');
  const buildMs = await timeToBuild();
  let inside = '';
  const report = await bootStemcell(stemcell, {
    visit: async (guest) => {
      inside = await guest.run(idleScript);
    },
  });
  if (report.status === undefined)
    throw new Error(`no answer; the console ends with\n${report.console.slice(-2000)}`);
  const lines = agentLines(report.console);
  const first = lines[0];
  const last = lines.at(-1);
  if (first === undefined || last === undefined) throw new Error('the agent said nothing on the console');
  const end = (step: string) =>
    lines.find(({ entry }) => entry['step'] === step && entry['durationMs'] !== undefined);
  const durationOf = (step: string) => Number(end(step)?.entry['durationMs'] ?? 0);
  const timeOf = ({ entry }: AgentLine) => Number(entry['time']);
  const loaded = end('load settings') ?? first;
  const formattingMs = durationOf('data disk') + durationOf('swap');
  const slowest: Figure[] = lines
    .filter(({ entry }) => typeof entry['durationMs'] === 'number' && entry['step'] !== 'load settings')
    .sort((a, b) => Number(b.entry['durationMs']) - Number(a.entry['durationMs']))
    .slice(0, 6)
    .map(({ entry }) => ({
      label: `of these, the step ${JSON.stringify(entry['step'])}`,
      value: Number(entry['durationMs']),
      unit: 'ms',
    }));
  const facts = idleFacts(inside);
  return {
    name: 'a stemcell in QEMU, emulated, first boot',
    figures: [
      { label: 'start of QEMU → agent answers', value: report.seconds, unit: 's', aim: '<= 45 s' },
      {
        label: 'firmware and boot loader',
        value: report.seconds - last.kernelSeconds,
        unit: 's',
      },
      { label: 'kernel → PID 1', value: facts.kernelSeconds, unit: 's' },
      { label: 'PID 1 → process of the agent', value: facts.agentSeconds - facts.kernelSeconds, unit: 's' },
      {
        label: 'process of the agent → settings loaded',
        value: loaded.kernelSeconds - facts.agentSeconds,
        unit: 's',
      },
      {
        label: 'settings loaded → agent listens',
        value: last.kernelSeconds - loaded.kernelSeconds,
        unit: 's',
      },
      {
        label: 'settings loaded → agent listens, without the data disk',
        value: timeOf(last) - timeOf(loaded) - formattingMs,
        unit: 'ms',
        aim: '<= 1500 ms',
      },
      { label: 'data disk partitioned, formatted and mounted; swap', value: formattingMs, unit: 'ms' },
      ...slowest,
      { label: 'idle agent, resident', value: facts.residentMiB, unit: 'MiB' },
      { label: 'idle agent, CPU time in a minute (emulated)', value: facts.cpuMs, unit: 'ms' },
      { label: 'stemcell built from a cached root file system', value: buildMs / 1000, unit: 's' },
      { label: 'stemcell', value: (await stat(stemcell)).size / 2 ** 20, unit: 'MiB' },
      ...(await recreation(stemcell)),
    ],
  };
}

/** The example on such a machine, made anew. */
async function recreation(stemcell: string): Promise<readonly Figure[]> {
  const example = await Example.create('10.245.90');
  try {
    const release = join(example.directory, 'release.tgz');
    await succeed(['packaging/releases/microbosh-registry/build', '--with-runtime', '--file', release]);
    await QemuView.prepare(example, stemcell, release);
    await example.create();
    return await overheadOfRecreation(example, 1, '<= 10 %');
  } finally {
    await example.tearDown();
  }
}

async function timeToBuild(): Promise<number> {
  const out = await mkdtemp(join(tmpdir(), 'microbosh-bench-stemcell-'));
  try {
    return await timeMs(() => buildStemcell('qemu', { out, cache: stemcellCache }));
  } finally {
    await rm(out, { recursive: true, force: true });
  }
}

const idleScript = `
  systemctl show -p ExecMainStartTimestampMonotonic microbosh-agent
  systemctl show -p UserspaceTimestampMonotonic
  sleep 20
  pid=$(systemctl show --value -p MainPID microbosh-agent)
  cat /proc/$pid/stat; sleep 60; cat /proc/$pid/stat
  grep VmRSS /proc/$pid/status
`;

interface IdleFacts {
  /** Since the kernel started. */
  readonly kernelSeconds: number;
  readonly agentSeconds: number;
  readonly residentMiB: number;
  readonly cpuMs: number;
}

function idleFacts(text: string): IdleFacts {
  const number = (pattern: RegExp) => Number(pattern.exec(text)?.[1]);
  const [before = 0, after = 0] = [...text.matchAll(/^\d+ \(.*\) (.*)$/gm)].map(([, rest]) => {
    const fields = (rest ?? '').split(' ');
    return Number(fields[11]) + Number(fields[12]);
  });
  return {
    kernelSeconds: number(/^UserspaceTimestampMonotonic=(\d+)$/m) / 1e6,
    agentSeconds: number(/^ExecMainStartTimestampMonotonic=(\d+)$/m) / 1e6,
    residentMiB: number(/^VmRSS:\s+(\d+) kB$/m) / 1024,
    // Ticks of a hundredth of a second.
    cpuMs: (after - before) * 10,
  };
}

interface AgentLine {
  readonly kernelSeconds: number;
  readonly entry: JsonObject;
}

/** What the agent logged until it listened. */
function agentLines(console: string): readonly AgentLine[] {
  const lines = [...console.matchAll(/^\[ *([\d.]+)\] microbosh-agent\[\d+\]: (\{.*\})\r?$/gm)].flatMap(
    ([, seconds, text]) => {
      const entry: unknown = JSON.parse(text ?? '');
      return isJsonObject(entry) ? [{ kernelSeconds: Number(seconds), entry }] : [];
    },
  );
  return lines.slice(0, lines.findIndex(({ entry }) => entry['msg'] === 'serving') + 1);
}
