import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { medianMs } from './result.ts';
import type { BenchResult } from './result.ts';

const root = join(import.meta.dirname, '..');
const director = join(root, 'libs/spec/testdata/director');

/** `interpolate` of a manifest of the size of a full director, every variable in the vars-store, beside a bare Node. */
export async function run(): Promise<BenchResult> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-interpolate-'));
  try {
    const argv = [
      'interpolate',
      join(director, 'manifest.yml'),
      ...readdirSync(join(director, 'ops'))
        .sort()
        .flatMap((name) => ['-o', join(director, 'ops', name)]),
      '-l',
      join(director, 'vars.yml'),
      '--vars-store',
      join(folder, 'creds.yml'),
      '--var-errs',
    ];
    const interpolate = () => execFileSync(join(root, 'bin/microbosh'), argv, { maxBuffer: 1 << 26 });
    // Fills the store, and the compile cache.
    interpolate();
    const bareMs = await medianMs(7, () => execFileSync(process.execPath, ['-e', '0']));
    const helpMs = await medianMs(7, () => execFileSync(join(root, 'bin/microbosh'), ['--version']));
    const interpolateMs = await medianMs(7, interpolate);
    return {
      name: 'interpolate: 1991 lines, 28 ops files, 68 variables in the vars-store',
      figures: [
        { label: 'bare start of the pinned Node', value: bareMs, unit: 'ms' },
        { label: 'start of the command line (--version)', value: helpMs, unit: 'ms' },
        { label: 'interpolate', value: interpolateMs, unit: 'ms' },
        {
          label: 'interpolate above the bare start',
          value: interpolateMs - bareMs,
          unit: 'ms',
          aim: '<= 400 ms',
        },
      ],
    };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
