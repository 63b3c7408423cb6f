import { readFile } from 'node:fs/promises';
import { OperationalError, errorCode, messageOf } from '@microbosh/errors';

/** A file that the command line names cannot be read. */
export class InputUnreadable extends OperationalError {
  readonly code = 'E_INPUT_UNREADABLE';
}

export async function readInput(path: string, what: string, shown = path): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw unreadable(what, shown, error);
  }
}

export function unreadable(what: string, path: string, error: unknown): InputUnreadable {
  const reasons: Record<string, string> = {
    ENOENT: 'it does not exist',
    EISDIR: 'it is a directory',
    EACCES: 'permission denied',
  };
  return new InputUnreadable(
    `The ${what} '${path}' cannot be read: ${reasons[errorCode(error) ?? ''] ?? messageOf(error)}`,
    { details: { path }, advice: 'Check the path.' },
  );
}
