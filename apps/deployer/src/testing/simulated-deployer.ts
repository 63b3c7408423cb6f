/** Runs the engine against a simulated cloud, in a process that can be killed: argv[2] is a SimulatedJob as JSON. */
import process from 'node:process';
import { runSimulated } from './run-simulated.ts';
import type { SimulatedJob } from './run-simulated.ts';

await runSimulated(JSON.parse(process.argv[2] ?? '{}') as SimulatedJob, (text) => process.stdout.write(text));
