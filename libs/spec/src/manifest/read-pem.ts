import type { DocumentCursor } from './document-cursor.ts';

const pemBlock = /-----BEGIN [A-Z0-9 ]+-----\r?\n[A-Za-z0-9+/=\s]+-----END [A-Z0-9 ]+-----/;

/** PEM text; undefined when absent, `problem` when it does not decode as PEM. */
export function readPem(cursor: DocumentCursor, problem: string): string | undefined {
  const text = cursor.text();
  if (text === '') return undefined;
  if (!pemBlock.test(text)) cursor.fail(problem);
  return text;
}
