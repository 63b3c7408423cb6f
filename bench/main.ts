/**
 * Runs the benchmarks and prints their figures: `npm run bench [-- NAME…]`.
 * Figures are ratios of things measured side by side in one run wherever that is possible; nothing here is a test.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchResult } from './result.ts';

const helpers = new Set(['main.ts', 'result.ts']);
const available = readdirSync(import.meta.dirname)
  .filter((file) => file.endsWith('.ts') && !helpers.has(file))
  .map((file) => file.replace(/\.ts$/, ''));
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !available.includes(name));
if (unknown.length > 0) {
  console.error(`no benchmark '${unknown[0]}'; there are: ${available.join(', ')}`);
  process.exit(1);
}

let failed = false;
for (const name of wanted.length > 0 ? wanted : available) {
  try {
    const module = (await import(join(import.meta.dirname, `${name}.ts`))) as { run(): Promise<BenchResult> };
    const result = await module.run();
    console.log(`\n${result.name}`);
    for (const { label, value, unit, aim } of result.figures) {
      const shown = value >= 100 ? value.toFixed(0) : value.toPrecision(3);
      console.log(
        `  ${label.padEnd(64)} ${shown.padStart(9)} ${unit.padEnd(6)}${aim === undefined ? '' : ` (aim ${aim})`}`,
      );
    }
  } catch (error) {
    failed = true;
    console.error(`\n${name}: ${error instanceof Error ? error.stack : String(error)}`);
  }
}
process.exit(failed ? 1 : 0);
