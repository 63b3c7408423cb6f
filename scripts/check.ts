/** Runs the checks, some beside each other, goes on after a failure, and counts. Set-up is done by ./check. */
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, dirname, join, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

const root = dirname(import.meta.dirname);
const quick = process.argv.includes('--quick');
const unknown = process.argv.slice(2).filter((argument) => argument !== '--quick');
if (unknown.length > 0) {
  console.error(`check: unknown argument '${unknown[0]}'; usage: ./check [--quick]`);
  process.exit(1);
}

const reports = join(root, 'dist/reports');
rmSync(reports, { recursive: true, force: true });
mkdirSync(reports, { recursive: true });

// The pinned runtime first, for every tool that starts `node`.
const env = {
  ...process.env,
  PATH: [dirname(process.execPath), join(root, 'node_modules/.bin'), process.env['PATH']].join(delimiter),
  NX_DAEMON: 'false',
  NX_TUI: 'false',
  NO_UPDATE_NOTIFIER: '1',
};

const totals = { passed: 0, failed: 0, skipped: 0 };
/** What failed, for the end of the output: the log of a full run is too long to search. */
const failures: string[] = [];

/** Runs one program; its output is shown at once, or given to `collect`. */
function execute(
  [program, ...args]: readonly [string, ...string[]],
  timeoutMs: number,
  collect?: (text: string) => void,
): Promise<boolean> {
  return new Promise((resolve) => {
    const child = spawn(program, args, {
      cwd: root,
      env,
      stdio: ['ignore', collect ? 'pipe' : 'inherit', collect ? 'pipe' : 'inherit'],
      timeout: timeoutMs,
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on('data', (chunk: Buffer) => collect?.(chunk.toString()));
    }
    child.once('error', ({ message }) => {
      console.error(`${program}: ${message}`);
      resolve(false);
    });
    child.once('close', (exitCode) => resolve(exitCode === 0));
  });
}

function ended(title: string, ok: boolean, started: number): string {
  return `== ${title}: ${ok ? 'ok' : 'FAILED'} (${((Date.now() - started) / 1000).toFixed(1)} s)`;
}

/** A check that is one case: passed or failed. Others may run beside it: what it prints comes when it has ended. */
async function single(title: string, argv: readonly [string, ...string[]], timeoutMs: number): Promise<void> {
  const started = Date.now();
  let output = '';
  const ok = await execute(argv, timeoutMs, (text) => (output += text));
  console.log(`\n== ${title}\n${output}${ended(title, ok, started)}`);
  if (ok) totals.passed += 1;
  else {
    totals.failed += 1;
    failures.push(title);
  }
}

interface VitestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numFailedTestSuites: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}

/** One entry per failed case, and per file that could not be loaded, with the start of its message. */
function failuresOf(report: VitestReport): string[] {
  return report.testResults.flatMap((file) => {
    const name = relative(root, file.name);
    const cases = file.assertionResults
      .filter((result) => result.status === 'failed')
      .map((result) => entry(`${name}: ${result.fullName}`, result.failureMessages.join('\n')));
    return cases.length === 0 && file.status === 'failed' ? [entry(name, file.message)] : cases;
  });
}

function entry(title: string, message: string): string {
  const lines = stripVTControlCharacters(message).trim().split('\n').slice(0, 12);
  return [title, ...lines.map((line) => `    ${line}`)].join('\n');
}

interface VitestOptions {
  readonly filters?: readonly string[];
  /** Others run meanwhile: what it prints comes when it has ended. */
  readonly isBeside?: boolean;
}

/** A vitest project: its cases are counted; a run that ends without a report counts as one failure. */
async function vitest(project: string, timeoutMs: number, options: VitestOptions = {}): Promise<void> {
  const file = join(reports, `${project}.json`);
  const started = Date.now();
  const title = `tests: ${project}`;
  let output = '';
  if (!options.isBeside) console.log(`\n== ${title}`);
  const ok = await execute(
    [
      'nx',
      'run',
      `microbosh:${project}`,
      '--outputStyle=stream',
      '--',
      `--outputFile.json=${file}`,
      ...(options.filters ?? []),
    ],
    timeoutMs,
    options.isBeside ? (text) => (output += text) : undefined,
  );
  if (options.isBeside) console.log(`\n== ${title}\n${output}`);
  console.log(ended(title, ok, started));
  try {
    const report = JSON.parse(readFileSync(file, 'utf8')) as VitestReport;
    totals.passed += report.numPassedTests;
    totals.failed += report.numFailedTests;
    totals.skipped += report.numPendingTests;
    failures.push(...failuresOf(report));
    // A file that cannot be loaded has no failing case of its own.
    if (!ok && report.numFailedTests === 0) {
      totals.failed += Math.max(1, report.numFailedTestSuites);
      failures.push(`tests: ${project} ended with an error`);
    }
    if (report.numPassedTests === 0) {
      totals.failed += 1;
      failures.push(`tests: ${project}: not one passed`);
    }
  } catch {
    totals.failed += 1;
    failures.push(`tests: ${project} left no report`);
  }
}

const minute = 60_000;
await Promise.all([
  single('lint and module boundaries', ['nx', 'run', 'microbosh:lint'], 10 * minute),
  single('format', ['prettier', '--check', '--log-level=warn', '.'], 5 * minute).then(() =>
    single('types', ['nx', 'run', 'microbosh:typecheck'], 5 * minute),
  ),
]);
await vitest('unit', 10 * minute);
await single('bundles', [process.execPath, 'scripts/bundle.ts'], 2 * minute);
await single('registry release', ['packaging/releases/microbosh-registry/build'], 2 * minute);
if (quick) {
  await vitest('e2e', 5 * minute, { filters: ['e2e/quick/'] });
} else {
  await single('cpi release', ['packaging/releases/microbosh-cpi/build'], 2 * minute);
  await vitest('int', 25 * minute);
  // Those tests wait more than they compute: the stemcells of the journeys are built meanwhile.
  const stemcells = single('stemcells', [process.execPath, 'e2e/support/build-stemcells.ts'], 20 * minute);
  await vitest('machine', 25 * minute);
  await stemcells;
  // An emulated machine computes on one core; the journeys on the local provider wait for much.
  await Promise.all([vitest('guest', 30 * minute, { isBeside: true }), vitest('e2e', 40 * minute)]);
}

if (failures.length > 0) console.log(`\nFailed:\n${failures.map((failure) => `- ${failure}`).join('\n')}`);
console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exit(totals.failed === 0 ? 0 : 1);
