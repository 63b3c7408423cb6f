import { stepBeforeFileChanges, steppedRunner } from './kill-steps.ts';

/**
 * An agent of its own process on a dummy machine that dies like in a power cut: told `{killAt: n}`, it kills itself
 * right before the n-th step that changes a file, a link or a directory, or that runs a program.
 * `{killAt: 0}` only counts; every count is answered with `{steps}` when asked with `{count: true}`.
 */
let steps = 0;
let killAt: number | undefined;

function step(): void {
  if (killAt === undefined) return;
  steps += 1;
  if (steps === killAt) process.kill(process.pid, 'SIGKILL');
}

stepBeforeFileChanges(step);
const runner = steppedRunner(step);

const { startAgent } = await import('../compose.ts');
const { createDummyHost } = await import('../dummy-host.ts');
const base = process.argv[2] ?? '';
const host = createDummyHost(base);
await host.bootstrap.run();
const silent = () => undefined;
const agent = await startAgent({
  ...{ baseDir: base, supervisor: 'builtin', host, runner },
  log: { debug: silent, info: silent, warn: silent, error: silent },
  restart: () => process.exit(1),
});
process.on('message', (message: { readonly killAt?: number; readonly count?: boolean }) => {
  if (message.killAt !== undefined) {
    steps = 0;
    killAt = message.killAt === 0 ? -1 : message.killAt;
  }
  process.send?.({ steps });
});
process.send?.({ port: agent.port });
