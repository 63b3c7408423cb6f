import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { announceAddresses } from './announce.ts';
import type { PlannedInterface } from './network-plan.ts';

const times = { rounds: 2, pauseMs: 1 };

function card(name: string, method: 'static' | 'dhcp', ips: readonly string[]): PlannedInterface {
  return {
    name,
    method,
    addresses: ips.map((ip) => ({ ip, prefixLength: 24 })),
    gateways: [],
    dns: [],
    routes: [],
    ignoreDhcpRoutes: false,
    ipv6: false,
  };
}

let programs: string;

beforeEach(async () => {
  programs = await mkdtemp(join(tmpdir(), 'microbosh-announce-'));
  vi.stubEnv('PATH', programs);
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(programs, { recursive: true, force: true });
});

async function announced(interfaces: readonly PlannedInterface[]): Promise<readonly string[]> {
  const ran: string[] = [];
  const runner = {
    run: (argv: readonly string[]) => {
      ran.push(argv.join(' '));
      return Promise.reject(new Error('Network is down'));
    },
  };
  await announceAddresses(runner, interfaces, times);
  return ran;
}

it('tells the neighbours of each static IPv4 address, in every round, also when a round fails', async () => {
  await writeFile(join(programs, 'arping'), '');
  await chmod(join(programs, 'arping'), 0o755);

  const ran = await announced([
    card('eth0', 'static', ['10.0.0.5', 'fd00::5']),
    card('eth1', 'dhcp', ['10.1.0.5']),
  ]);

  expect(ran).toEqual(['arping -c 1 -U -I eth0 10.0.0.5', 'arping -c 1 -U -I eth0 10.0.0.5']);
});

it('says nothing on a machine without the program', async () => {
  expect(await announced([card('eth0', 'static', ['10.0.0.5'])])).toEqual([]);
});
