/**
 * Boots the stemcell of each IaaS with the devices of that IaaS until its agent answers, then cuts the power of a fresh copy
 * at seeded moments of its boot, and prints a table. Stemcells that are not in dist/stemcells are built first.
 *
 *   npm run lab:qemu -- [--cuts N] [--seed N] [IAAS…]
 */
import { parseArgs } from 'node:util';
import { iaasNames, isIaas, type Iaas } from '@microbosh/stemcell-builder';
import { flavouredStemcell } from '../../support/full-stemcell.ts';
import { bootStemcell } from './boot-flavour.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cuts: { type: 'string', default: '10' }, seed: { type: 'string', default: '1' } },
});

/** Between the first second of a boot and the end of one that is not disturbed. */
function moments(count: number, seed: number, bootSeconds: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return 1 + ((bootSeconds - 1) * state) / 2 ** 32;
  });
}

const machines = iaasNames.filter((iaas): iaas is Exclude<Iaas, 'local'> => iaas !== 'local');
const unknown = positionals.find((name) => !isIaas(name) || name === 'local');
if (unknown !== undefined) {
  console.error(`'${unknown}' is no IaaS with machines; there are: ${machines.join(', ')}`);
  process.exit(1);
}

let failed = false;
const rows: string[] = [];
for (const iaas of machines.filter((name) => positionals.length === 0 || positionals.includes(name))) {
  const stemcell = await flavouredStemcell(iaas);
  const first = await bootStemcell(stemcell);
  const reports = [{ title: 'first boot', ...first }];
  if (first.status !== undefined && Number(values.cuts) > 0) {
    const cuts = moments(Number(values.cuts), Number(values.seed), first.seconds);
    const after = await bootStemcell(stemcell, { cutsAfterSeconds: cuts });
    const title = `after cuts at ${cuts.map((seconds) => seconds.toFixed(0)).join(', ')} s`;
    reports.push({ title, ...after });
  }
  for (const { title, status, seconds, dataMounts, dataMountsTold, console: output } of reports) {
    const answer = status === undefined ? 'no answer' : `answers ${status}`;
    const row = [
      iaas.padEnd(10),
      answer.padEnd(12),
      `${seconds.toFixed(1)} s`.padStart(8),
      `data mounted ${dataMounts ?? '-'}x of ${dataMountsTold}`.padEnd(22),
      title,
    ].join(' ');
    rows.push(row);
    console.log(row);
    if (status === undefined || (dataMounts ?? -1) < dataMountsTold) {
      failed = true;
      console.log(`The console ends with:\n${output.slice(-4000)}`);
    }
  }
}
console.log(`\n${rows.join('\n')}`);
process.exit(failed ? 1 : 0);
