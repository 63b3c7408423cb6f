import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { argumentCases } from './argument-cases.ts';
import { CallbackServer } from './callback-server.ts';
import { jobCases } from './job-cases.ts';
import { methodCases, powerCases, restartCases } from './method-cases.ts';
import { runSuite, type Effect, type Result } from './suite.ts';
import { transportCases } from './transport-cases.ts';
import { WireAgent } from './wire-agent.ts';

const usage = `Usage: npm run conformance -- --mbus https://USER:PASSWORD@HOST:PORT [options]

Asks an agent everything that the protocol has, one case per method, argument form and error, and prints a table.
Without further flags nothing on the machine is changed.

  --ca FILE          trust this authority only (default: the certificate is not verified)
  --files            also cases that leave small files (blobs, hints of disks, bundles of logs)
  --destructive      also cases that replace jobs, packages, host names, users; implies --files
  --disks CID,CID    with --destructive: two attached disks that may be formatted; CID=PATH names the device
                     of the first, for add_dynamic_disk
  --restarts         also methods that end the agent; something has to start it again
  --power-off        also shutdown, as the last case
  --callback HOST    how the agent reaches this machine, for signed URLs (default: the loopback, for a local agent)
  --base DIR         base directory on the machine (default /var/vcap)
  --require-all      a method that the agent does not have is a failure, also where versions differ
  --timeout SECONDS  for one answer and for one task (default 120)
  --json             results as JSON

The exit code is 0 when no case failed, 1 when one did, 2 when the suite could not run.
`;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      mbus: { type: 'string' },
      ca: { type: 'string' },
      files: { type: 'boolean', default: false },
      destructive: { type: 'boolean', default: false },
      disks: { type: 'string' },
      restarts: { type: 'boolean', default: false },
      'power-off': { type: 'boolean', default: false },
      callback: { type: 'string' },
      base: { type: 'string', default: '/var/vcap' },
      'require-all': { type: 'boolean', default: false },
      timeout: { type: 'string', default: '120' },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  const mbus = URL.canParse(values.mbus ?? '') ? new URL(values.mbus ?? '') : undefined;
  const timeoutMs = Number(values.timeout) * 1_000;
  if (mbus?.protocol !== 'https:' || !(timeoutMs > 0)) {
    process.stderr.write(usage);
    return 2;
  }
  const effects = new Set<Effect>(['none']);
  if (values.files || values.destructive) effects.add('files');
  if (values.destructive) effects.add('destructive');
  if (values.restarts) effects.add('restart');
  if (values['power-off']) effects.add('power');
  const isLocal = ['127.0.0.1', 'localhost', '[::1]'].includes(mbus.hostname);
  const callbackHost = values.callback ?? (isLocal ? '127.0.0.1' : undefined);
  const [one = '', second = ''] = (values.disks ?? '').split(',');
  const [first = '', path] = one.split('=');

  const agent = new WireAgent({
    mbus,
    timeoutMs,
    ...(values.ca === undefined ? {} : { ca: await readFile(values.ca, 'utf8') }),
  });
  const callback = callbackHost === undefined ? undefined : await CallbackServer.start(callbackHost);
  try {
    await agent.call('ping', []);
    const results = await runSuite(
      [...transportCases, ...argumentCases, ...methodCases, ...jobCases, ...restartCases, ...powerCases],
      {
        agent,
        base: values.base,
        run: randomBytes(4).toString('hex'),
        ...(callback ? { callback } : {}),
        ...(first && second ? { disks: [first, second] as const } : {}),
        ...(first && path ? { device: { cid: first, path } } : {}),
      },
      {
        effects,
        requireAll: values['require-all'],
        ...(values.json ? {} : { onResult: printRow }),
      },
    );
    const counts = countsOf(results);
    if (values.json)
      process.stdout.write(`${JSON.stringify({ agent: mbus.host, counts, results }, null, 2)}\n`);
    else {
      const { ok, failed, absent, skipped } = counts;
      process.stdout.write(
        `\n${ok} ok, ${failed} failed, ${absent} absent in this version, ${skipped} skipped\n`,
      );
    }
    return counts.failed === 0 ? 0 : 1;
  } finally {
    agent.close();
    await callback?.close();
  }
}

function printRow({ method, title, verdict, durationMs, reason }: Result): void {
  const row = `${verdict.padEnd(8)}${method.padEnd(34)}${title}`;
  process.stdout.write(`${row}${verdict === 'skipped' ? '' : ` (${durationMs} ms)`}\n`);
  if (reason !== undefined && verdict !== 'skipped')
    process.stdout.write(`        ${reason.slice(0, 500)}\n`);
}

function countsOf(results: readonly Result[]): Record<Result['verdict'], number> {
  const counts = { ok: 0, failed: 0, absent: 0, skipped: 0 };
  for (const { verdict } of results) counts[verdict] += 1;
  return counts;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`conformance: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 2;
}
