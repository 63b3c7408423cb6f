/**
 * Whether a relative path matches a pattern of a package's `files`: `*`, `?`, `[…]` inside a segment, `**` for any
 * segments, `{a,b}`. Names that begin with a dot are names like any other.
 */
export function matchesGlob(path: string, pattern: string): boolean {
  return new RegExp(`^${translate(pattern.replace(/^\.\//, ''))}$`, 's').test(path);
}

function translate(pattern: string): string {
  let result = '';
  let braces = 0;
  for (let at = 0; at < pattern.length; at += 1) {
    const rest = pattern.slice(at);
    const set = /^\[([!^]?)([^\]/]+)\]/.exec(rest);
    if (rest.startsWith('**/')) {
      result += '(?:[^/]+/)*';
      at += 2;
    } else if (rest.startsWith('**')) {
      result += '.*';
      at += 1;
    } else if (set !== null) {
      result += `[${set[1] === '' ? '' : '^'}${(set[2] ?? '').replaceAll('\\', '\\\\')}]`;
      at += set[0].length - 1;
    } else if (rest[0] === '*') result += '[^/]*';
    else if (rest[0] === '?') result += '[^/]';
    else if (rest[0] === '{') {
      result += '(?:';
      braces += 1;
    } else if (rest[0] === '}' && braces > 0) {
      result += ')';
      braces -= 1;
    } else if (rest[0] === ',' && braces > 0) result += '|';
    else result += (rest[0] ?? '').replace(/[\\^$.|+()[\]{}]/, '\\$&');
  }
  return result + ')'.repeat(braces);
}
