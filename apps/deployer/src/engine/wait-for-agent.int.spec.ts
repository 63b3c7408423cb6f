import { describe, expect, it } from 'vitest';
import { EventBus } from '../events/event-bus.ts';
import type { AgentSession, AgentTrouble } from '../ports/agent.ts';
import type { DeployRun } from './deploy-run.ts';
import { readBootstrap } from './bootstrap-progress.ts';
import { waitForAgent } from './wait-for-agent.ts';

const refused: AgentTrouble = { kind: 'refused', text: 'nothing listens', hopeless: false };
const begins = (step: string, number: number) =>
  `[   56.8] microbosh-agent[126]: ${JSON.stringify({ level: 30, step, number, of: 14, msg: 'Bootstrap step begins.' })}\n`;
const ended = (step: string) => `${JSON.stringify({ level: 30, step, outcome: 'done', changes: [] })}\n`;
const failed = `${JSON.stringify({ level: 60, msg: "step 'data disk' failed: no device" })}\n`;
const serving = `${JSON.stringify({ level: 30, port: 6868, msg: 'serving' })}\n`;

describe('the console of a VM', () => {
  it.each([
    ['kernel messages { only\n', undefined, false],
    [begins('networking', 9), 'still bootstrapping at step 9 of 14: networking', false],
    [begins('firewall', 5) + ended('firewall'), "still bootstrapping, after step 'firewall'", false],
    [begins('data disk', 10) + failed, "it ended: step 'data disk' failed: no device", true],
    [failed + begins('load settings', 1), 'still bootstrapping at step 1 of 14: load settings', false],
    [begins('networking', 9) + serving, undefined, false],
  ])('tells how far the agent is: %j', (console, text, isFailed) => {
    expect(readBootstrap(console)).toMatchObject({ text, failed: isFailed });
  });
});

/** An agent that answers after so many pings, on a VM with this console. */
async function wait(options: {
  readonly trouble: AgentTrouble;
  readonly answersAfter: number;
  readonly console?: () => Promise<string>;
  readonly limitMs?: number;
  readonly tunnelTrouble?: string;
  readonly witness?: string;
}) {
  let pings = 0;
  const said: string[] = [];
  const agent: Pick<AgentSession, 'ping' | 'explain'> = {
    ping: async () => {
      pings += 1;
      if (pings <= options.answersAfter) throw new Error('no answer');
    },
    explain: () => options.trouble,
  };
  const events = new EventBus();
  events.subscribe((event) => {
    if (event.type === 'progress' && event.message !== undefined) said.push(event.message);
  });
  const run = {
    effects: { throwIfCancelled: () => undefined, context: () => ({}) },
    signal: new AbortController().signal,
    state: { current_vm_cid: 'vm-1' },
    limits: { pollMs: 50 },
    tunnelTrouble: options.tunnelTrouble,
    ...(options.witness === undefined ? {} : { registryWitness: async () => options.witness }),
    cloud: options.console === undefined ? {} : { consoleLog: options.console },
    pause: (ms: number) => new Promise((resolve) => setTimeout(resolve, ms)),
  } as unknown as DeployRun;
  const outcome = await events
    .step('waiting', (step) => waitForAgent(run, agent as AgentSession, options.limitMs ?? 10_000, step))
    .then(
      () => undefined,
      (error: unknown) => error,
    );
  return { pings, said, outcome };
}

describe('waiting for the agent', () => {
  it('ends at once when waiting cannot help, with the reason and the end of the console', async () => {
    const trouble = { kind: 'certificate', text: 'the certificate expired', hopeless: true };

    const { pings, outcome } = await wait({
      trouble,
      answersAfter: 100,
      console: async () => `${'old\n'.repeat(50)}last words\n`,
    });

    expect(pings).toBe(1);
    expect(outcome).toMatchObject({
      code: 'E_AGENT_NOT_READY',
      details: { vmCid: 'vm-1', kind: 'certificate' },
      message: expect.stringMatching(
        /waiting cannot help: the certificate expired\nEnd of the console of VM 'vm-1':\n(old\n){14}last words$/,
      ) as string,
    });
  });

  it('ends at once when the tunnel to the registry is hopeless', async () => {
    const { pings, outcome } = await wait({
      trouble: refused,
      answersAfter: 100,
      tunnelTrouble: 'another host key',
    });

    expect(pings).toBe(1);
    expect(outcome).toMatchObject({ details: { kind: 'tunnel' } });
  });

  it('says what stands in the way once, and then at which step the bootstrap is', async () => {
    let looks = 0;
    const { said, outcome } = await wait({
      trouble: refused,
      answersAfter: 14,
      console: async () => begins('networking', 8 + (looks += 1)),
    });

    expect(outcome).toBeUndefined();
    expect(said.slice(0, 2)).toEqual(['nothing listens', 'still bootstrapping at step 9 of 14: networking']);
    expect(looks, 'every fourth time at most').toBeLessThanOrEqual(said.length);
  });

  it('ends with the step at which the bootstrap is when the time is over', async () => {
    const { outcome } = await wait({
      trouble: refused,
      answersAfter: 1_000,
      limitMs: 500,
      console: async () => begins('data disk', 10) + failed,
    });

    expect(outcome).toMatchObject({
      details: { kind: 'bootstrap-failed' },
      message: expect.stringContaining("it ended: step 'data disk' failed: no device") as string,
    });
  });

  it('ends with what the registry saw of the VM', async () => {
    const { outcome } = await wait({
      trouble: refused,
      answersAfter: 1_000,
      limitMs: 300,
      witness: 'Nobody asked the registry for the settings.',
    });

    expect(outcome).toMatchObject({
      details: { kind: 'refused', registry: 'Nobody asked the registry for the settings.' },
      message: expect.stringContaining('nothing listens\nNobody asked the registry') as string,
    });
  });

  it('goes on when the console cannot be read', async () => {
    const { said, outcome } = await wait({
      trouble: refused,
      answersAfter: 8,
      console: () => Promise.reject(new Error('forbidden')),
    });

    expect(outcome).toBeUndefined();
    expect(said).toEqual(['nothing listens']);
  });
});
