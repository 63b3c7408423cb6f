import { CommanderError } from 'commander';
import { errorCode, isOperationalError, messageChain } from '@microbosh/errors';
import type { Composition } from '../compose.ts';
import { compose, globalOptionsOf } from '../compose.ts';
import { adviceOf, formatError } from '../output/error-text.ts';
import { exitCodeOf, exitCodes } from './exit-codes.ts';
import { buildProgram } from './program.ts';

/** Runs one command line (without the program's own name) and resolves with its exit code. */
export async function runCli(
  argv: readonly string[],
  version: string,
  process: NodeJS.Process,
): Promise<number> {
  const abort = new AbortController();
  const onSignal = (signal: NodeJS.Signals) => {
    // The second one stops at once; what is on disk then is what a later run resumes from.
    if (abort.signal.aborted) process.exit(exitCodes.cancelled);
    process.stderr.write(`\n${signal}: stopping at the next safe point; again to stop at once.\n`);
    abort.abort();
  };
  let composition: Composition | undefined;
  // As the original: a terminal that goes away ends no deploy.
  const onHangUp = () => composition?.toggleDebug();
  // Nobody reads on: what was begun is brought to a point from which a later run goes on.
  const onOutputError = (error: Error) => {
    if (errorCode(error) === 'EPIPE') abort.abort();
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal).on('SIGHUP', onHangUp);
  for (const stream of [process.stdout, process.stderr]) stream.on('error', onOutputError);

  let exitCode: number = exitCodes.done;
  const program = buildProgram(version, async (load, args, options) => {
    composition = compose(globalOptionsOf(options, process), process, abort.signal);
    const command = await load();
    exitCode = await command.run(composition.context, args, options);
    if (exitCode === exitCodes.done) composition.renderer?.succeeded();
  });
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (error) {
    exitCode = reportFailure(error, composition, process);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal).off('SIGHUP', onHangUp);
    composition?.context.console.flush();
  }
  return exitCode;
}

function reportFailure(
  error: unknown,
  composition: Composition | undefined,
  process: NodeJS.Process,
): number {
  // commander has printed help, version or the usage error itself.
  if (error instanceof CommanderError) return error.exitCode === 0 ? exitCodes.done : exitCodes.error;
  const code = errorCode(error);
  const exitCode = exitCodeOf(error instanceof Error && error.name === 'AbortError' ? 'E_CANCELLED' : code);
  const advice = adviceOf(error);
  if (composition?.context.global.json) {
    composition.context.console.json({
      type: 'error',
      time: new Date().toISOString(),
      code: code ?? 'E_DEFECT',
      message: messageChain(error).join(': '),
      ...(advice === undefined ? {} : { advice }),
      ...(isOperationalError(error) ? { details: error.details } : {}),
      exitCode,
    });
    return exitCode;
  }
  const text = [
    '',
    formatError(error),
    ...(advice === undefined ? [] : ['', advice]),
    ...(isOperationalError(error) || !(error instanceof Error) ? [] : ['', error.stack ?? '']),
    '',
    `Exit code ${exitCode}`,
  ].join('\n');
  if (composition) composition.context.console.error(text);
  else process.stderr.write(`${text}\n`);
  return exitCode;
}
