import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';
import { expect, it } from 'vitest';
import { startTestAgent } from '../src/testing/test-agent.ts';

const suite = join(import.meta.dirname, '../../../libs/agent-protocol/src/conformance/main.ts');

interface Report {
  readonly counts: { readonly ok: number; readonly failed: number; readonly skipped: number };
  readonly results: readonly {
    readonly method: string;
    readonly title: string;
    readonly verdict: string;
    readonly reason?: string;
  }[];
}

it('the agent passes every case of the conformance suite', async () => {
  const agent = await startTestAgent();
  try {
    const ca = join(agent.layout.base, 'ca.pem');
    writeFileSync(ca, agent.ca);
    const runner = new NodeCommandRunner();
    const run = async (...flags: readonly string[]) => {
      const { stdout } = await runner.run(
        [
          process.execPath,
          suite,
          '--mbus',
          agent.mbus,
          '--ca',
          ca,
          '--json',
          '--base',
          agent.layout.base,
          ...flags,
        ],
        { timeoutMs: 100_000, maxOutputBytes: 4 << 20, okExitCodes: [0, 1] },
      );
      return JSON.parse(stdout) as Report;
    };

    const harmless = await run('--require-all');
    expect(harmless.results.filter(({ verdict }) => verdict === 'failed')).toEqual([]);
    // Documented as harmless: forgetting neighbours, and asking for users that are not there.
    const effects = new Set(agent.effects.map(([operation]) => operation));
    expect([...effects].sort()).toEqual(['flush_neighbour', 'remove_ssh_users']);

    const all = await run(
      ...[
        '--require-all',
        '--destructive',
        '--restarts',
        '--power-off',
        '--disks',
        'disk-1=/dev/disk-1,disk-2',
      ],
    );
    expect(all.results.filter(({ verdict }) => verdict !== 'ok')).toEqual([]);
    expect(all.counts.ok).toBeGreaterThan(150);
    for (const effect of ['add_ssh_user', 'write_hosts', 'migrate', 'forget_network_identity', 'power_off']) {
      expect(agent.effects.map(([operation]) => operation)).toContain(effect);
    }
  } finally {
    await agent.close();
  }
});
