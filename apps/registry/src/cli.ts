import { Command, CommanderError } from 'commander';
import { isOperationalError } from '@microbosh/errors';
import { version } from './version.ts';

/** What a command may use of the process. */
export interface Streams {
  readonly stdin: NodeJS.ReadableStream;
  readonly stdout: NodeJS.WritableStream;
  readonly stderr: NodeJS.WritableStream;
}

type Options = Readonly<Record<string, unknown>>;
/** Every command module exports one `run`; it is imported when it is called. */
type Run = (context: Streams, options: Options, args: readonly string[]) => Promise<number>;

/** Parses the command line, runs one command, returns the exit code. */
export async function runCli(argv: readonly string[], streams: Streams): Promise<number> {
  let exitCode = 0;
  const program = declare((load) => async (...all: unknown[]) => {
    const command = all.at(-1);
    if (!(command instanceof Command)) throw new TypeError('commander passes the command last');
    const { run } = await load();
    exitCode = await run(streams, command.optsWithGlobals(), command.args);
  });
  const quiet = { writeOut: write(streams.stdout), writeErr: write(streams.stderr) };
  program.configureOutput(quiet);
  for (const command of program.commands) command.configureOutput(quiet).exitOverride();
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    if (!isOperationalError(error)) throw error;
    streams.stderr.write(`microbosh-registry: ${error.message} (${error.code})\n`);
    if (error.advice !== undefined) streams.stderr.write(`${error.advice}\n`);
    return 1;
  }
}

function declare(
  action: (load: () => Promise<{ run: Run }>) => (...args: unknown[]) => Promise<void>,
): Command {
  const program = new Command('microbosh-registry')
    .description('Keeps the settings of VMs and hands them to their agents.')
    .version(`version ${version}`, '-v, --version')
    .option('-c, --config <file>', 'configuration file, of ours or of the original')
    .option('--check-config', 'check the configuration file, then end')
    .option('--print-config', 'print the configuration with its defaults and without secrets, then end')
    .showSuggestionAfterError()
    .exitOverride()
    .action(action(() => import('./commands/serve.ts')));
  const add = (usage: string, description: string) => program.command(usage).description(description);

  add('serve', 'serve; what happens without a command').action(action(() => import('./commands/serve.ts')));
  add('migrate', 'bring the database to the version of this program').action(
    action(() => import('./commands/migrate.ts')),
  );
  add('backup <file>', 'write everything, encrypted as it is stored, while others serve').action(
    action(() => import('./commands/backup.ts')),
  );
  add('restore <file>', 'replace everything with a backup, in one step, while others serve')
    .option('--key-file <file>', 'keys of the backup, when they are not those of this registry')
    .action(action(() => import('./commands/restore.ts')));
  add('export <file>', 'write everything for another registry')
    .option('--plaintext', 'settings in clear, for a registry with other keys; guard the file')
    .action(action(() => import('./commands/export.ts')));
  add('import [file]', 'add what an export holds, or the rows of an original registry')
    .option('--key-file <file>', 'keys of the export, when they are not those of this registry')
    .option('--original', 'the table of the original in the configured database')
    .option('--original-sqlite <file>', 'the table of the original in an SQLite file')
    .option('--original-config <file>', 'the table of the original in the database of its configuration file')
    .option('--original-dump <file>', 'a dump of pg_dump, sqlite3 or mysqldump')
    .action(action(() => import('./commands/import.ts')));
  add('rotate-key', 'encrypt everything with a new key, while others serve')
    .option('--prepare', 'only add a new key to the key file, to distribute it first')
    .option('--activate <id>', 'use a prepared key')
    .option('--reseal', 'only move rows to the key that is active now')
    .option('--retire', 'afterwards move keys that no row needs to <key file>.retired')
    .action(action(() => import('./commands/rotate-key.ts')));
  add('expire', 'remove what was neither written nor read for long')
    .requiredOption('--older-than <days>', 'days')
    .option('--dry-run', 'only list')
    .action(action(() => import('./commands/expire.ts')));
  add('hash-password', 'read a password from standard input, print its hash').action(
    action(() => import('./commands/hash-password.ts')),
  );
  add('config-schema', 'print the JSON Schema of the configuration file').action(
    action(() => import('./commands/config-schema.ts')),
  );
  return program;
}

function write(stream: NodeJS.WritableStream): (text: string) => void {
  return (text) => {
    stream.write(text);
  };
}
