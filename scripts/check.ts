/** Runs the checks in order, goes on after a failure, and counts. Set-up is done by ./check. */
import { spawnSync } from 'node:child_process';
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

function run(title: string, argv: readonly [string, ...string[]], timeoutMs: number): boolean {
  const started = Date.now();
  console.log(`\n== ${title}`);
  const [program, ...args] = argv;
  const result = spawnSync(program, args, {
    cwd: root,
    env,
    stdio: ['ignore', 'inherit', 'inherit'],
    timeout: timeoutMs,
  });
  const ok = result.status === 0;
  if (result.error) console.error(`${program}: ${result.error.message}`);
  console.log(`== ${title}: ${ok ? 'ok' : 'FAILED'} (${((Date.now() - started) / 1000).toFixed(1)} s)`);
  return ok;
}

/** A check that is one case: passed or failed. */
function single(title: string, argv: readonly [string, ...string[]], timeoutMs: number): void {
  if (run(title, argv, timeoutMs)) totals.passed += 1;
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

/** A vitest project: its cases are counted; a run that ends without a report counts as one failure. */
function vitest(project: string, timeoutMs: number, filters: readonly string[] = []): void {
  const file = join(reports, `${project}.json`);
  const ok = run(
    `tests: ${project}`,
    [
      'nx',
      'run',
      `microbosh:${project}`,
      '--outputStyle=stream',
      '--',
      `--outputFile.json=${file}`,
      ...filters,
    ],
    timeoutMs,
  );
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
single('format', ['prettier', '--check', '--log-level=warn', '.'], 5 * minute);
single('lint and module boundaries', ['nx', 'run', 'microbosh:lint'], 10 * minute);
single('types', ['nx', 'run', 'microbosh:typecheck'], 5 * minute);
vitest('unit', 10 * minute);
single('bundles', [process.execPath, 'scripts/bundle.ts'], 2 * minute);
single('registry release', ['packaging/releases/microbosh-registry/build'], 2 * minute);
if (quick) {
  vitest('e2e', 5 * minute, ['e2e/quick/']);
} else {
  single('cpi release', ['packaging/releases/microbosh-cpi/build'], 2 * minute);
  vitest('int', 25 * minute);
  vitest('machine', 25 * minute);
  vitest('e2e', 40 * minute);
}

if (failures.length > 0) console.log(`\nFailed:\n${failures.map((failure) => `- ${failure}`).join('\n')}`);
console.log(`\n${totals.passed} passed, ${totals.failed} failed, ${totals.skipped} skipped`);
process.exit(totals.failed === 0 ? 0 : 1);
