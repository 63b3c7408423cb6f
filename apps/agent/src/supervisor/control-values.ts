import { ControlFileInvalid, type Comparison } from './control-language.ts';
import { secondsOf, type Reader } from './control-tokens.ts';

export function parseComparison(reader: Reader): Comparison {
  if (reader.acceptPhrase('not', 'equal') || reader.accept('!=', 'notequal', 'ne')) return '!=';
  if (reader.accept('>', 'gt', 'greater', 'older')) return '>';
  if (reader.accept('<', 'lt', 'less', 'newer')) return '<';
  if (reader.accept('>=', 'ge')) return '>=';
  if (reader.accept('<=', 'le')) return '<=';
  if (reader.accept('=', '==', 'eq', 'equal')) return '==';
  return reader.refuse((word) => `'${word}' stands where a comparison is expected`);
}

export function parseSeconds(reader: Reader): number {
  const value = reader.number();
  const factor = secondsOf(reader.peek() ?? '');
  if (factor !== undefined) reader.token();
  if (value <= 0) reader.fail('a time limit is not positive');
  return value * (factor ?? 1);
}

/** The next word as a regular expression. */
export function checkedPattern(reader: Reader): string {
  const { text, line } = reader.token();
  try {
    new RegExp(text);
  } catch {
    throw new ControlFileInvalid(`'${text}' is not a regular expression`, line);
  }
  return text;
}

/** An MD5 or SHA-1 checksum, in small letters. */
export function parseSum(reader: Reader): string {
  const { text, line } = reader.token();
  if (/^([0-9a-f]{32}|[0-9a-f]{40})$/i.test(text)) return text.toLowerCase();
  throw new ControlFileInvalid(`'${text}' is not an MD5 or SHA-1 checksum`, line);
}
