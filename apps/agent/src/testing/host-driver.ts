import { CommandFailed } from '@microbosh/host';
import { errorCode, messageOf, type Json } from '@microbosh/errors';
import { readFileSync } from 'node:fs';
import { parseAgentConfig } from '../config/agent-config.ts';
import { createHost } from '../host.ts';
import { stepBeforeFileChanges, steppedRunner } from './kill-steps.ts';

/**
 * Runs one operation of the host inside a test machine: `bootstrap`, `mount CID`, `unmount CID`, `migrate FROM TO`,
 * `add-dynamic CID PATH`, `remove-dynamic CID`, `refresh-firewall`.
 * With KILL_AT=n the process kills itself like a power cut would, before (even n) or after (odd n) its n/2-th command;
 * with KILLS=all also, counted with them, before each change of a file.
 */
const killAt = process.env['KILL_AT'] === undefined ? undefined : Number(process.env['KILL_AT']);
let boundary = 0;
function passBoundary(): void {
  if (boundary === killAt) process.kill(process.pid, 'SIGKILL');
  boundary += 1;
}

if (process.env['KILLS'] === 'all') stepBeforeFileChanges(passBoundary);
const runner = steppedRunner(passBoundary);
const quiet = { debug() {}, info() {}, warn() {}, error() {} };
const host = createHost({
  config: parseAgentConfig(JSON.parse(readFileSync('/var/vcap/bosh/agent.json', 'utf8')) as Json),
  baseDir: '/var/vcap',
  supervisor: 'builtin',
  log: quiet,
  runner,
  resolverTimes: { timeoutMs: 1000, pollMs: 50 },
  unmountAttempts: 2,
});

const startedMs = performance.now();
try {
  const [operation, first = '', second = ''] = process.argv.slice(2);
  if (operation !== 'bootstrap') await host.settings.refresh();
  const operations: Readonly<Record<string, () => Promise<unknown>>> = {
    bootstrap: () => host.bootstrap.run(),
    mount: () => host.disks.mount(first),
    unmount: () => host.disks.unmount(first),
    migrate: () => host.disks.migrate(first, second),
    'add-dynamic': () => host.disks.addDynamic(first, { path: second }),
    'remove-dynamic': () => host.disks.removeDynamic(first),
    'refresh-firewall': () => host.machine.refreshFirewall(),
  };
  const run = operations[operation ?? ''];
  if (!run) throw new Error(`there is no operation '${operation ?? ''}'`);
  print({ ok: true, value: (await run()) ?? null });
} catch (error) {
  const output = error instanceof CommandFailed ? error.stderr : '';
  print({ ok: false, code: errorCode(error) ?? '', message: messageOf(error) + output });
}

function print(result: object): void {
  console.log(JSON.stringify({ ...result, boundaries: boundary, elapsedMs: performance.now() - startedMs }));
}
