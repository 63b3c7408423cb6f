import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { run as runCommand, start } from '../e2e/support/commands.ts';
import { Example } from '../e2e/support/example.ts';
import { VmView } from '../e2e/support/vm-view.ts';
import { medianMs, timeMs } from './result.ts';
import type { BenchResult, Figure } from './result.ts';

interface EventLine {
  readonly type: string;
  readonly id?: string;
  readonly kind?: string;
  readonly name?: string;
  readonly durationMs?: number;
}

/** Resident memory of a process in MiB. */
function residentMiB(pid: number): number {
  return (
    Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? Number.NaN) / 1024
  );
}

/** From the agent's exec to its first `serving`, at the first boot of the VM: disks are partitioned and formatted in it. */
function agentStartMs(example: Example, vm: VmView): number {
  const console = readFileSync(join(example.localRoot, 'vms', vm.cid, 'console.log'), 'utf8');
  const serving = console
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as { readonly time: number; readonly msg?: string })
    .find(({ msg }) => msg === 'serving');
  const stat = readFileSync(`/proc/${vm.pidOf('microbosh-agent.mjs')}/stat`, 'utf8');
  const startTicks = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  const upSeconds = Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]);
  // The kernel counts in hundredths of a second since its boot.
  return (serving?.time ?? Number.NaN) - (Date.now() - upSeconds * 1000 + startTicks * 10);
}

/** The example on the local provider: cold deploy with the share of each step, unchanged deploy, the agent's start and memory. */
export async function run(): Promise<BenchResult> {
  const figures: Figure[] = [];
  const example = await Example.create('10.245.87');
  try {
    let output = '';
    const coldMs = await timeMs(async () => {
      const deploy = start(example.command('create-env', '--json', '--vars-store', example.creds), {
        env: example.env,
      });
      output = (await deploy.finished).stdout;
    });
    figures.push({ label: 'cold create-env', value: coldMs / 1000, unit: 's', aim: '<= 10 s on 2 cores' });
    const names = new Map<string, string>();
    for (const line of output.split('\n').filter(Boolean)) {
      const event = JSON.parse(line) as EventLine;
      if (event.type === 'started' && event.kind === 'step') names.set(event.id ?? '', event.name ?? '');
      const name = names.get(event.id ?? '');
      if (name !== undefined && event.durationMs !== undefined && event.durationMs >= coldMs / 100) {
        figures.push({
          label: `  ${name.slice(0, 60)}`,
          value: (100 * event.durationMs) / coldMs,
          unit: '%',
        });
      }
    }

    const bareMs = await medianMs(5, () => runCommand([process.execPath, '-e', '0']));
    const unchangedMs = await medianMs(5, () => example.create());
    figures.push(
      { label: 'bare start of the pinned Node', value: bareMs, unit: 'ms' },
      { label: 'unchanged create-env', value: unchangedMs, unit: 'ms', aim: '<= bare start + 500 ms' },
    );

    const vm = await VmView.of(example);
    figures.push({
      label: 'agent, exec to answering, first boot',
      value: agentStartMs(example, vm),
      unit: 'ms',
      aim: '<= 1000 ms',
    });
    const bare = start([process.execPath, '-e', 'setTimeout(() => {}, 5000)']);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const bareRss = residentMiB(bare.process.pid ?? 0);
    bare.process.kill();
    const agentRss = residentMiB(vm.pidOf('microbosh-agent.mjs'));
    figures.push(
      { label: 'bare Node, idle', value: bareRss, unit: 'MiB' },
      { label: 'agent, idle', value: agentRss, unit: 'MiB' },
      { label: 'agent, idle, beside a bare Node', value: agentRss / bareRss, unit: 'x', aim: '<= 1.6 x' },
    );
    return { name: 'deploy of examples/registry on the local provider', figures };
  } finally {
    await example.tearDown();
  }
}
