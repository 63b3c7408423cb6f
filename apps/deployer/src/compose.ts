import { createInterface } from 'node:readline/promises';
import { text as readAll } from 'node:stream/consumers';
import { SecretRegister } from '@microbosh/host';
import type { CommandContext, CommandOptions, GlobalOptions } from './cli/context.ts';
import { EventBus } from './events/event-bus.ts';
import { Console } from './output/console.ts';
import { eventLog } from './output/log-file.ts';
import { StageRenderer } from './output/stage-renderer.ts';

export interface Composition {
  readonly context: CommandContext;
  /** Undefined under `--json` and `--quiet`. */
  readonly renderer: StageRenderer | undefined;
  /** Begins or ends to log everything. */
  readonly toggleDebug: () => void;
}

export function globalOptionsOf(options: CommandOptions, process: NodeJS.Process): GlobalOptions {
  return {
    json: options.json === true,
    tty: options.tty === true || process.env.BOSH_TTY === 'true',
    color: options.color !== false && !process.env.NO_COLOR && process.env.TERM !== 'dumb',
    quiet: options.quiet === true,
    nonInteractive: options.nonInteractive === true || process.env.BOSH_NON_INTERACTIVE === 'true',
  };
}

/** Builds what a command needs from the process it runs in. */
export function compose(global: GlobalOptions, process: NodeJS.Process, signal: AbortSignal): Composition {
  const secrets = new SecretRegister();
  const console = new Console({
    stdout: process.stdout,
    stderr: process.stderr,
    redact: (text) => secrets.redact(text),
    json: global.json,
    quiet: global.quiet,
  });
  const events = new EventBus();
  let renderer: StageRenderer | undefined;
  if (global.json) {
    events.subscribe((event) => console.json({ ...event }));
  } else if (!global.quiet) {
    renderer = new StageRenderer({
      write: (text) => console.write(text),
      live: process.stdout.isTTY && process.env.TERM !== 'dumb',
      columns: process.stdout.columns,
    });
    events.subscribe(renderer.handle);
    if (process.stdout.isTTY) {
      const shown = renderer;
      setInterval(() => shown.tick(Date.now()), 1_000).unref();
    }
  }
  const log = eventLog(
    process.env,
    (text) => process.stderr.write(text),
    (text) => secrets.redact(text),
  );
  events.subscribe(log.handle);
  events.subscribeCalls(log.handle);
  const context: CommandContext = {
    global,
    console,
    events,
    signal,
    secrets,
    env: environment(process),
    cwd: process.cwd(),
    readStdin: () => readAll(process.stdin),
    interactive: process.stdin.isTTY && !global.nonInteractive,
    ask: async (question) => {
      const prompt = createInterface({ input: process.stdin, output: process.stderr });
      try {
        return await prompt.question(question, { signal });
      } finally {
        prompt.close();
      }
    },
  };
  return { context, renderer, toggleDebug: log.toggleDebug };
}

/** As it is when the program starts. What it starts itself does not inherit the key of the vars-store. */
function environment(process: NodeJS.Process): CommandContext['env'] {
  const whole = { ...process.env };
  delete process.env.MICROBOSH_VARS_KEY;
  return whole;
}
