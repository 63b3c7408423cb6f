import { stat } from 'node:fs/promises';
import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';
import { bootStemcell } from '../e2e/labs/qemu/boot-flavour.ts';
import { flavouredStemcell } from '../e2e/support/full-stemcell.ts';
import type { BenchResult } from './result.ts';

/** A machine of QEMU, emulated, from its start until its agent answers, and where the time goes. */
export async function run(): Promise<BenchResult> {
  const stemcell = await flavouredStemcell('qemu');
  const report = await bootStemcell(stemcell);
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
  return {
    name: 'a stemcell in QEMU, emulated, first boot',
    figures: [
      { label: 'start of QEMU → agent answers', value: report.seconds, unit: 's', aim: '<= 45 s' },
      { label: 'kernel → settings loaded', value: loaded.kernelSeconds, unit: 's' },
      { label: 'kernel → agent listens', value: last.kernelSeconds, unit: 's' },
      {
        label: 'settings loaded → agent listens, without the data disk',
        value: timeOf(last) - timeOf(loaded) - formattingMs,
        unit: 'ms',
        aim: '<= 1500 ms',
      },
      { label: 'data disk partitioned, formatted and mounted; swap', value: formattingMs, unit: 'ms' },
      { label: 'stemcell', value: (await stat(stemcell)).size / 2 ** 20, unit: 'MiB' },
    ],
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
