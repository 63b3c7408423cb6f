import { readdirSync, readFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { NodeCommandRunner } from '@microbosh/host';
import { expect } from 'vitest';
import { BuiltinSupervisor } from '../src/supervisor/builtin-supervisor.ts';
import { MonitSupervisor } from '../src/supervisor/monit/monit-supervisor.ts';
import { silentLog } from '../src/testing/test-agent.ts';
import { describeSupervisor } from './supervisor.contract.ts';

describeSupervisor('builtin', async (layout) => {
  const make = () => new BuiltinSupervisor({ layout, log: silentLog, intervalMs: 200, cycleMs: 1_000 });
  // It is the agent itself: nothing else can hang.
  const hang = async () => 'running' as const;
  return { supervisor: make(), next: make, hang, dispose: async () => undefined };
});

describeSupervisor('monit', async (layout) => {
  const [httpPort, smtpPort] = [await freePort(), await freePort()];
  const pidFile = join(layout.base, 'monit.pid');
  const make = () =>
    new MonitSupervisor({
      ...{ layout, log: silentLog, runner: new NodeCommandRunner() },
      ...{ httpPort, smtpPort, pidFile, cycleSecs: 1 },
      ...{ requestTimeoutMs: 2_000, statusTimeoutMs: 4_000, endTimeoutMs: 1_000 },
    });
  const hang = async () => {
    const pid = Number(readFileSync(pidFile, 'utf8'));
    process.kill(pid, 'SIGSTOP');
    const threads = () =>
      readdirSync(`/proc/${pid}/task`).map((id) => readFileSync(`/proc/${pid}/task/${id}/stat`, 'utf8'));
    // The signal arrives later: until then it may answer.
    await expect.poll(() => threads().every((stat) => /\) T /.test(stat)), { timeout: 10_000 }).toBe(true);
    return 'unknown' as const;
  };
  return { supervisor: make(), next: make, hang, dispose: () => endMonit(pidFile) };
});

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

async function endMonit(pidFile: string): Promise<void> {
  const pid = Number(readFileSync(pidFile, 'utf8'));
  process.kill(pid, 'SIGTERM');
  for (let tries = 0; tries < 100; tries += 1) {
    try {
      process.kill(pid, 0);
    } catch {
      return;
    }
    await sleep(100);
  }
}
