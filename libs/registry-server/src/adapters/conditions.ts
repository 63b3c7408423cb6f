import type { WriteCondition } from '../ports/store.ts';

/** Whether the row, known by its current etag, is one that the caller wants to change. */
export function meetsCondition(condition: WriteCondition, currentEtag: string | undefined): boolean {
  const { ifMatch, ifNoneMatch } = condition;
  const matches = (wanted: readonly string[] | '*') =>
    currentEtag !== undefined && (wanted === '*' || wanted.includes(currentEtag));
  if (ifMatch !== undefined && !matches(ifMatch)) return false;
  return ifNoneMatch === undefined || !matches(ifNoneMatch);
}
