/** YAML 1.1, which the originals read, has line breaks that are none in 1.2; offsets stay. */
export function withPlainBreaks(text: string): string {
  return /[\u0085\u2028\u2029]/.test(text) ? text.replace(/[\u0085\u2028\u2029]/g, '\n') : text;
}

/** The line breaks of a literal block are those of its text, one by one. */
export function restoreBreaks(value: string, written: string): string {
  const breaks = written.match(/\r\n|[\r\n\u0085\u2028\u2029]/g) ?? [];
  let next = 0;
  return value.replace(/\n/g, () => {
    const lineBreak = breaks[next++] ?? '\n';
    return /[\u2028\u2029]/.test(lineBreak) ? lineBreak : '\n';
  });
}

/**
 * Folding joins lines; a line or paragraph separator is never folded away, only the blanks around it are. Written so
 * that folding by the rules of YAML 1.2, in which the separators are text, has that result.
 */
export function keepOddBreaks(written: string, hasEscapes: boolean): string {
  return written.replace(
    /(\\*)[ \t]*((?:\r\n|[\r\n\u0085\u2028\u2029])(?:[ \t]*(?:\r\n|[\r\n\u0085\u2028\u2029]))*)[ \t]*/g,
    (run, escapes: string, lines: string) => {
      if (hasEscapes && escapes.length % 2 === 1) return withPlainBreaks(run);
      const breaks = (lines.match(/\r\n|[^ \t]/g) ?? []).map((one) =>
        /[\u2028\u2029]/.test(one) ? one : '\n',
      );
      const [first = '\n', ...rest] = breaks;
      // What the first one stands for: a blank, unless others follow, or itself.
      if (first === '\n' && rest.length === 0) return `${escapes}\n`;
      const folded = first === '\n' ? rest.join('') : breaks.join('');
      return escapes + folded.replace(/\n+/g, (newlines) => `${newlines}\n`);
    },
  );
}
