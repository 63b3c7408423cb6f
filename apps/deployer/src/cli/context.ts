import type { SecretRegister } from '@microbosh/host';
import type { Console } from '../output/console.ts';
import type { RegistryChoice } from '../access/registry-use.ts';
import type { EventBus } from '../events/event-bus.ts';

/** Switches that every command has. */
export interface GlobalOptions {
  readonly json: boolean;
  readonly tty: boolean;
  readonly color: boolean;
  readonly quiet: boolean;
  /** No questions: confirmations are taken as given. */
  readonly nonInteractive: boolean;
}

/** What a command may use of the process it runs in. Built by `compose.ts`, or by a program that embeds the deployer. */
export interface CommandContext {
  readonly global: GlobalOptions;
  readonly console: Console;
  readonly events: EventBus;
  /** Aborted by the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal;
  /** Every value added here is cut out of everything that is printed. */
  readonly secrets: SecretRegister;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Reads standard input to its end. */
  readonly readStdin: () => Promise<string>;
  /** Someone is there to answer a question. */
  readonly interactive: boolean;
  /** Asks on the terminal; the answer is the line typed. */
  readonly ask: (question: string) => Promise<string>;
}

export type OptionValue = string | boolean | readonly string[] | undefined;

/** Options of one command, by camel-cased flag name, as `declare.ts` defines them. */
export type CommandOptions = Readonly<Record<string, OptionValue>>;

export interface CommandModule {
  /** Resolves with the exit code; rejects with what is then printed. */
  run(context: CommandContext, args: readonly string[], options: CommandOptions): Promise<number>;
}

export function textOption(options: CommandOptions, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

export function flagOption(options: CommandOptions, name: string): boolean {
  return options[name] === true;
}

/** `--registry` and `--no-registry`. */
export function registryOption(options: CommandOptions): RegistryChoice {
  const said = options['registry'];
  if (said === undefined) return 'unsaid';
  return said === false ? 'unwanted' : 'wanted';
}

export function listOption(options: CommandOptions, name: string): readonly string[] {
  const value = options[name];
  return typeof value === 'object' ? value : [];
}
