import { OperationalError } from '@microbosh/errors';
import { describe, expect, it } from 'vitest';
import { adviceOf, formatError } from './error-text.ts';

class Refused extends OperationalError {
  readonly code = 'E_REFUSED';
}

describe('formatError', () => {
  it('indents each cause below the message it explains', () => {
    const error = new Error('Parsing', { cause: new Error('Evaluating', { cause: new Error('EOF') }) });

    expect(formatError(error)).toBe('Parsing:\n  Evaluating:\n    EOF');
  });

  it('prints a list of problems as bullets', () => {
    const error = Object.assign(new Error('Validating'), {
      problems: ['first', new Error('second', { cause: new Error('why') })],
    });

    expect(formatError(error)).toBe('Validating:\n  - first\n  - second:\n      why');
  });

  it('keeps the lines of a message of several lines, and a percent sign', () => {
    expect(formatError(new Error('one\n100 %'))).toBe('one\n100 %');
  });
});

describe('adviceOf', () => {
  it('prefers the advice that is nearest to the cause', () => {
    const inner = new Refused('refused', { advice: 'Open the port.' });
    const outer = new Refused('waiting', { advice: 'Wait.', cause: inner });

    expect(adviceOf(outer)).toBe('Open the port.');
  });

  it('has nothing to say about a defect', () => {
    expect(adviceOf(new TypeError('x is not a function'))).toBeUndefined();
  });
});
