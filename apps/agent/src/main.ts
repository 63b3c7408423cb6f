import { readFile } from 'node:fs/promises';
import { isOperationalError, messageOf, type Json } from '@microbosh/errors';
import { pino } from 'pino';
import { startAgent } from './compose.ts';
import { parseAgentConfig } from './config/agent-config.ts';
import { parseCommandLine, type CommandLine } from './config/command-line.ts';
import { agentPaths } from './platform/agent-paths.ts';
import { feedWatchdog } from './platform/watchdog.ts';
import type { AgentHost } from './ports/host.ts';
import type { Log } from './ports/log.ts';

const version = '0.1.0';

// For this process, not for what it starts: where its compiled code is kept, and how little memory it may hold.
for (const name of Object.keys(process.env)) {
  if (name === 'NODE_COMPILE_CACHE' || name.startsWith('MALLOC_')) Reflect.deleteProperty(process.env, name);
}

async function createMachine(line: CommandLine, log: Log): Promise<AgentHost> {
  if (line.platform === 'dummy') return (await import('./dummy-host.ts')).createDummyHost(line.baseDir);
  const text = line.configPath === undefined ? '{}' : await readFile(line.configPath, 'utf8');
  const config = parseAgentConfig(JSON.parse(text) as Json);
  const { createHost } = await import('./host.ts');
  return createHost({ config, baseDir: line.baseDir, supervisor: line.supervisor, log });
}

const log = pino(
  { base: null, level: process.env.MICROBOSH_LOG_LEVEL ?? 'info' },
  pino.destination({ dest: 2, sync: true }),
);

/** Both originals end with 1 here; the service manager starts the agent again. */
function end(reason: string): void {
  log.info({ reason }, 'ending');
  process.exit(1);
}

async function main(): Promise<void> {
  const line = parseCommandLine(process.argv.slice(2));
  if (line.printVersion) {
    process.stdout.write(`${version}\n`);
  } else if (line.printBootstrapReport) {
    const { formatBootstrapReport } = await import('@microbosh/agent-protocol');
    const { readBootstrapReport } = await import('./bootstrap/read-report.ts');
    const { bootstrapReport } = agentPaths(line.baseDir);
    process.stdout.write(formatBootstrapReport(await readBootstrapReport(bootstrapReport)));
  } else {
    feedWatchdog(log);
    process.once('SIGTERM', () => end('SIGTERM'));
    process.once('SIGINT', () => end('SIGINT'));
    const host = await createMachine(line, log);
    await host.bootstrap.run();
    await startAgent({ baseDir: line.baseDir, supervisor: line.supervisor, host, log, restart: end });
  }
}

// Not awaited at the top: the executable is built of a CommonJS program.
main().catch((error: unknown) => {
  const known = isOperationalError(error);
  log.fatal(
    {
      code: known ? error.code : undefined,
      advice: known ? error.advice : undefined,
      err: known ? undefined : error,
    },
    messageOf(error),
  );
  process.exitCode = 1;
  process.exit();
});
