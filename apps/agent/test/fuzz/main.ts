import { parseArgs } from 'node:util';
import { fuzzAgent } from './fuzzer.ts';

/** `npm run fuzz:agent -- [--requests 100000] [--seed N]`. */
const { values } = parseArgs({
  options: { requests: { type: 'string', default: '100000' }, seed: { type: 'string', default: '1' } },
});
const startedAt = performance.now();
const report = await fuzzAgent({
  requests: Number(values.requests),
  seed: Number(values.seed),
  onProgress: (done) => {
    if (done % 10_000 === 0) process.stderr.write(`${done}\n`);
  },
});
const { violations, ...figures } = report;
console.log(
  JSON.stringify({ ...figures, seconds: Math.round((performance.now() - startedAt) / 1000) }, null, 2),
);
for (const violation of violations.slice(0, 50)) console.log(`VIOLATION ${violation}`);
console.log(violations.length === 0 ? 'no violations' : `${violations.length} violations`);
process.exit(violations.length === 0 ? 0 : 1);
