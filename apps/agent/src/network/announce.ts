import { setTimeout as sleep } from 'node:timers/promises';
import type { CommandRunner } from '@microbosh/host';
import { isIPv4 } from 'node:net';
import { which } from '../platform/which.ts';
import type { PlannedInterface } from './network-plan.ts';

/** The Go agent's: for as long as neighbours may still remember another machine with these addresses. */
const rounds = 20;
const pauseMs = 5_000;

/**
 * Tells the neighbours, again and again in the background, which machine has its static addresses now: the VM before it had
 * them with another network card. Nothing waits for it, and an interface that is not there any more is passed over.
 */
export async function announceAddresses(
  runner: CommandRunner,
  interfaces: readonly PlannedInterface[],
  times: { readonly rounds: number; readonly pauseMs: number } = { rounds, pauseMs },
): Promise<void> {
  const announced = interfaces.flatMap(({ name, method, addresses }) =>
    method === 'static' ? addresses.filter(({ ip }) => isIPv4(ip)).map(({ ip }) => ({ name, ip })) : [],
  );
  if (announced.length === 0 || (await which('arping')) === undefined) return;
  for (let round = 0; round < times.rounds; round += 1) {
    if (round > 0) await sleep(times.pauseMs, undefined, { ref: false });
    for (const { name, ip } of announced) {
      await runner
        .run(['arping', '-c', '1', '-U', '-I', name, ip], { timeoutMs: 5_000 })
        .catch(() => undefined);
    }
  }
}
