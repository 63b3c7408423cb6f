/** The boot storm at full size: 10,000 agents at two registry processes on one PostgreSQL. Usage: npm run lab:registry [AGENTS [PARALLEL]] */
import { bootStorm } from '../apps/registry/src/testing/boot-storm.ts';

const [agents = 10_000, parallel = 500] = process.argv.slice(2).map(Number);
const report = await bootStorm(agents, parallel);
console.log(
  `${report.agents} agents in ${report.seconds.toFixed(1)} s, ${parallel} at a time: ${report.errors.length} errors, ` +
    `${report.shares.join(' + ')} answers, p50 ${report.p50Ms.toFixed(0)} ms, p99 ${report.p99Ms.toFixed(0)} ms`,
);
for (const error of report.errors.slice(0, 10)) console.error(error);
const [fewest = 0] = [...report.shares].sort((a, b) => a - b);
const problems = [
  ...(report.errors.length > 0 ? [`${report.errors.length} agents got no settings`] : []),
  ...(fewest < agents / 4 ? ['one of the processes served less than a quarter of the agents'] : []),
];
console.log(problems.length === 0 ? 'PASSED' : `FAILED: ${problems.join('; ')}`);
process.exit(problems.length === 0 ? 0 : 1);
