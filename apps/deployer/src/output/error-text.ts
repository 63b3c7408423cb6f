import { isOperationalError, messageOf } from '@microbosh/errors';

/** Errors that report several problems at once carry them as `problems` (or `errors`, as AggregateError does). */
function problemsOf(error: Error): readonly unknown[] {
  // Problems of another form are in the message already.
  if ('problems' in error && Array.isArray(error.problems) && error.problems.every(isPrintable)) {
    return error.problems;
  }
  if (error instanceof AggregateError) return error.errors;
  return [];
}

function isPrintable(problem: unknown): boolean {
  return typeof problem === 'string' || problem instanceof Error;
}

function problemText(problem: unknown): string {
  if (typeof problem === 'string') return problem;
  return problem instanceof Error ? formatError(problem) : messageOf(problem);
}

/**
 * The shape of the original: the messages of a chain end with a colon and each cause is indented below, members of a
 * list are bullets.
 */
export function formatError(error: unknown): string {
  const lines: string[] = [];
  let current: unknown = error;
  let indent = '';
  for (let depth = 0; depth < 20; depth += 1) {
    const next: unknown = current instanceof Error ? current.cause : undefined;
    const problems = current instanceof Error ? problemsOf(current) : [];
    const hasMore = problems.length > 0 || (next !== undefined && next !== null);
    const message = messageOf(current);
    lines.push(...indentLines(hasMore && !message.endsWith(':') ? `${message}:` : message, indent));
    for (const problem of problems) {
      const [first = '', ...rest] = problemText(problem).split('\n');
      lines.push(`${indent}  - ${first}`, ...rest.map((line) => `${indent}    ${line}`));
    }
    if (!hasMore || next === undefined || next === null) break;
    current = next;
    indent += '  ';
  }
  return lines.join('\n');
}

/** What to do about it: the advice of the innermost operational error that has any. */
export function adviceOf(error: unknown): string | undefined {
  let advice: string | undefined;
  let current: unknown = error;
  for (let depth = 0; depth < 20 && current instanceof Error; depth += 1) {
    if (isOperationalError(current) && current.advice !== undefined) advice = current.advice;
    current = current.cause;
  }
  return advice;
}

function indentLines(text: string, indent: string): string[] {
  return text.split('\n').map((line) => `${indent}${line}`);
}
