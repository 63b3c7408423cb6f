import process from 'node:process';
import { isOperationalError, messageOf } from '@microbosh/errors';
import type { Streams } from '../cli.ts';
import { composeServer, readTls } from '../compose.ts';
import type { RegistryConfig } from '../config/config.ts';
import { openLogs } from '../logging.ts';
import type { Logs } from '../logging.ts';
import type { RegistryServer } from '@microbosh/registry-server';
import { configOf } from './configured.ts';

export async function run(streams: Streams, options: Readonly<Record<string, unknown>>): Promise<number> {
  const { config, document, warnings } = await configOf(options);
  if (options['checkConfig'] === true || options['printConfig'] === true) {
    for (const warning of warnings) streams.stderr.write(`warning: ${warning}\n`);
    if (options['printConfig'] === true) {
      const { printConfig } = await import('../config/print.ts');
      streams.stdout.write(printConfig(document));
    } else streams.stdout.write('the configuration is good\n');
    return 0;
  }
  const logs = openLogs(config);
  for (const warning of warnings) logs.log.warn({ warning }, 'a key of the configuration has no effect');
  if (config.admins.length === 0) {
    logs.log.warn('there is no administrator: nobody can write settings');
  }
  let server: RegistryServer | undefined;
  try {
    server = await composeServer(config, logs);
    await server.listen();
    await serveUntilStopped(server, logs, options, config);
    return 0;
  } catch (error) {
    logs.log.fatal(
      { reason: messageOf(error), code: isOperationalError(error) ? error.code : undefined },
      'stopped',
    );
    throw error;
  } finally {
    await server?.close();
    logs.flush();
  }
}

/** SIGTERM and SIGINT end it in order, a second one at once; SIGHUP reads the configuration again. */
async function serveUntilStopped(
  server: RegistryServer,
  logs: Logs,
  options: Readonly<Record<string, unknown>>,
  started: RegistryConfig,
): Promise<void> {
  let reloading = Promise.resolve();
  const onHup = () => {
    reloading = reloading
      .then(() => reload(server, logs, options, started))
      .catch((error: unknown) => {
        logs.log.error({ reason: messageOf(error) }, 'the reload was refused; everything stays as it was');
      });
  };
  process.on('SIGHUP', onHup);
  await new Promise<void>((resolve) => {
    const onStop = (signal: NodeJS.Signals) => {
      logs.log.info({ signal }, 'registry stops');
      process.once('SIGTERM', () => process.exit(1));
      process.once('SIGINT', () => process.exit(1));
      resolve();
    };
    process.once('SIGTERM', onStop);
    process.once('SIGINT', onStop);
  });
  process.off('SIGHUP', onHup);
  await reloading;
}

async function reload(
  server: RegistryServer,
  logs: Logs,
  options: Readonly<Record<string, unknown>>,
  started: RegistryConfig,
): Promise<void> {
  const { config, warnings } = await configOf(options);
  for (const warning of warnings) logs.log.warn({ warning }, 'a key of the configuration has no effect');
  const files = config.listeners.find((listener) => listener.tls)?.tls;
  await server.reload({
    admins: config.admins,
    certificateRules: config.certificateRules,
    allowLoopbackReads: config.loopbackReads,
    trustedProxies: config.trustedProxies,
    ...(files ? { tls: await readTls(files) } : {}),
  });
  logs.setLevel(config.logLevel);
  logs.reopen();
  const fixed = ['db', 'listeners', 'limits', 'encryption', 'cloud'] as const;
  const waiting = fixed.filter((key) => JSON.stringify(config[key]) !== JSON.stringify(started[key]));
  if (waiting.length > 0) logs.log.warn({ sections: waiting }, 'these changes need a restart');
}
