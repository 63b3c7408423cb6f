import { destination, multistream, pino, stdSerializers } from 'pino';
import type { Logger } from 'pino';
import type { RegistryConfig } from './config/config.ts';

export interface Logs {
  readonly log: Logger;
  readonly audit: Logger;
  setLevel(level: RegistryConfig['logLevel']): void;
  /** After the files were moved away. */
  reopen(): void;
  flush(): void;
}

/** Lines reach the file at once: what an operator reads after a crash is complete. */
export function openLogs(config: RegistryConfig): Logs {
  const out = destination({ dest: config.logFile ?? 1, mkdir: true, mode: 0o600, sync: true });
  const auditOut =
    config.auditLogFile === undefined
      ? undefined
      : destination({ dest: config.auditLogFile, mkdir: true, mode: 0o600, sync: true });
  const options = {
    level: config.logLevel,
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }), bindings: () => ({}) },
    serializers: { err: stdSerializers.err },
  };
  const log = pino(options, out);
  // The audit is a stream of its own: no log level silences it.
  const audit = pino({ ...options, level: 'info' }, multistream(auditOut ?? out)).child({
    component: 'audit',
  });
  return {
    log,
    audit,
    setLevel(level) {
      log.level = level;
    },
    reopen() {
      if (config.logFile !== undefined) out.reopen();
      if (config.auditLogFile !== undefined) auditOut?.reopen();
    },
    flush() {
      out.flushSync();
      auditOut?.flushSync();
    },
  };
}
