import process from 'node:process';
import { runCli } from './cli/run-cli.ts';
import { version } from './version.ts';

process.exitCode = await runCli(process.argv.slice(2), version, process);
