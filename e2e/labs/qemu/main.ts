/**
 * Boots stemcells with the devices of their IaaS until their agents answer, and cuts the power on the way.
 *
 *   npm run lab:qemu -- [--cuts N] [--seed N] STEMCELL.tgz…
 *
 * Build them before, for instance:
 *   npm run bundle && packaging/agent/build
 *   for iaas in qemu openstack aws vsphere vcloud; do
 *     bin/microbosh build-stemcell --iaas $iaas --no-compilers --out DIR --cache DIR/cache
 *   done
 */
import { parseArgs } from 'node:util';
import { bootStemcell } from './boot-flavour.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { cuts: { type: 'string', default: '0' }, seed: { type: 'string', default: '1' } },
});

/** Moments in the first forty seconds of a boot: the kernel, the agent's start, its work on the disks. */
function moments(count: number, seed: number): number[] {
  let state = seed;
  return Array.from({ length: count }, () => {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    return 3 + (37 * state) / 2 ** 31;
  });
}

let failed = positionals.length === 0;
if (failed) console.error('name at least one stemcell');
for (const stemcell of positionals) {
  const cuts = moments(Number(values.cuts), Number(values.seed));
  const { iaas, status, seconds, console: output } = await bootStemcell(stemcell, cuts);
  const after = cuts.length === 0 ? '' : ` after ${cuts.length} power cuts (seed ${values.seed})`;
  if (status === undefined) {
    failed = true;
    console.log(`${iaas}: no answer within ${seconds.toFixed(0)} s${after}; the console ends with:`);
    console.log(output.slice(-4000));
  } else {
    console.log(`${iaas}: the agent answered with ${status} ${seconds.toFixed(1)} s after the start${after}`);
  }
}
process.exit(failed ? 1 : 0);
