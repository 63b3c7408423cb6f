import { appendFileSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { dirname } from 'node:path';

/** Two files of this size are what a log takes at most. */
const limitBytes = 8 << 20;

/** Appends lines to a private file. When it has grown long, it becomes `.1` in place of an earlier one. */
export function boundedLog(path: string, limit = limitBytes): (line: string) => void {
  let size: number | undefined;
  return (line) => {
    if (size === undefined) {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    }
    const text = `${line}\n`;
    const bytes = Buffer.byteLength(text);
    if (size > 0 && size + bytes > limit) {
      renameSync(path, olderLog(path));
      size = 0;
    }
    appendFileSync(path, text, { mode: 0o600 });
    size += bytes;
  };
}

export function olderLog(path: string): string {
  return `${path}.1`;
}
