import { spawn } from 'node:child_process';
import type { ControlProgram } from './control-language.ts';

/** monit runs programs with this path and nothing else of its environment. */
const environment = { PATH: '/bin:/usr/bin:/sbin:/usr/sbin' };

export interface ProgramEnd {
  /** Undefined when it was killed or could not run. */
  readonly exitCode?: number;
  /** Undefined on success, else what went wrong. */
  readonly failure?: string;
}

/**
 * Runs a start or stop program as monit does: no input, no output, a session of its own, so that what it starts
 * outlives it and us.
 */
export async function runProgram(
  program: ControlProgram,
  env: Readonly<Record<string, string>> = {},
): Promise<ProgramEnd> {
  const [command, ...args] = [...identity(program), ...program.argv] as [string, ...string[]];
  const child = spawn(command, args, {
    cwd: '/',
    env: { ...environment, ...env },
    stdio: 'ignore',
    detached: true,
  });
  return new Promise((resolve) => {
    const timer = setTimeout(() => {
      // The program alone: what it started may be the service.
      child.kill('SIGKILL');
      resolve({ failure: `'${program.argv[0]}' did not end within ${program.timeoutMs} ms` });
    }, program.timeoutMs);
    child.once('error', (error) => {
      clearTimeout(timer);
      resolve({ failure: error.message });
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve({ exitCode: 0 });
      else {
        resolve({
          ...(code === null ? {} : { exitCode: code }),
          failure: `'${program.argv[0]}' ended with ${code ?? signal ?? 'an unknown status'}`,
        });
      }
    });
  });
}

function identity({ uid, gid }: ControlProgram): readonly string[] {
  if (uid === undefined && gid === undefined) return [];
  const ids = [
    ...(uid === undefined ? [] : [`--reuid=${uid}`]),
    ...(gid === undefined ? [] : [`--regid=${gid}`]),
  ];
  return ['setpriv', ...ids, '--clear-groups', '--'];
}
