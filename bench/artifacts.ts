import { execFileSync } from 'node:child_process';
import { randomFillSync } from 'node:crypto';
import { appendFileSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openStemcell } from '../libs/artifacts/src/index.ts';
import { timeMs } from './result.ts';
import type { BenchResult } from './result.ts';

const imageMiB = 500;

/** Unpacking and verifying a stemcell, beside `gzip -dc | sha1sum` of the same file. */
export async function run(): Promise<BenchResult> {
  const work = mkdtempSync(join(tmpdir(), 'bench-artifacts-'));
  try {
    // Like an image that is compressed already: what a stemcell for a cloud holds.
    const block = Buffer.alloc(20 << 20);
    writeFileSync(join(work, 'image'), '');
    for (let written = 0; written < imageMiB; written += 20)
      appendFileSync(join(work, 'image'), randomFillSync(block));
    const sha1 = execFileSync('sha1sum', ['image'], { cwd: work }).toString().slice(0, 40);
    writeFileSync(
      join(work, 'stemcell.MF'),
      `name: bench\nversion: "1"\nsha1: ${sha1}\ncloud_properties: {}\n`,
    );
    execFileSync('tar', ['-czf', 'stemcell.tgz', 'stemcell.MF', 'image'], { cwd: work });
    const tarball = join(work, 'stemcell.tgz');

    const shellTimes: number[] = [];
    const ourTimes: number[] = [];
    let peakRssBytes = 0;
    for (let round = 0; round < 3; round += 1) {
      shellTimes.push(await timeMs(() => execFileSync('sh', ['-c', 'gzip -dc "$0" | sha1sum', tarball])));
      const watch = setInterval(() => {
        peakRssBytes = Math.max(peakRssBytes, process.memoryUsage().rss);
      }, 20);
      ourTimes.push(await timeMs(async () => openStemcell(tarball, { workDir: join(work, `out${round}`) })));
      clearInterval(watch);
      rmSync(join(work, `out${round}`), { recursive: true, force: true });
    }
    const shellMs = Math.min(...shellTimes);
    const ourMs = Math.min(...ourTimes);
    return {
      name: 'artifacts: open a stemcell',
      figures: [
        { label: 'size of the tarball', value: statSync(tarball).size / 2 ** 20, unit: 'MiB' },
        { label: 'gzip -dc | sha1sum, best of 3', value: shellMs / 1000, unit: 's' },
        { label: 'unpack to disk and verify both digests, best of 3', value: ourMs / 1000, unit: 's' },
        { label: 'ratio', value: ourMs / shellMs, unit: 'x', aim: '<= 1.3 x' },
        {
          label: 'highest resident memory, whole process',
          value: peakRssBytes / 2 ** 20,
          unit: 'MiB',
          aim: '<= 250 MiB',
        },
      ],
    };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
