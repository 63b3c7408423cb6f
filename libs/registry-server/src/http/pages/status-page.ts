import type { InstanceSummary } from '../../ports/store.ts';
import { escapeHtml, page } from './html.ts';

export interface StatusView {
  readonly instances: readonly InstanceSummary[];
  readonly nowMs: number;
  readonly storeKind: string;
  readonly activeKeyId: string;
  /** Where the next page begins, when there is one. */
  readonly next?: string;
}

/** The instances: when they were written and read, how old they are, and reads that were refused. No values. */
export function statusPage(view: StatusView): string {
  const rows = view.instances.map((row) => rowOf(row, view.nowMs)).join('\n');
  const table = `<table>
<thead><tr><th>Instance</th><th>Last write</th><th>By</th><th>Last read</th><th class="number">Age</th>
<th class="number">Reads</th><th class="number">Denied reads</th><th class="number">Tokens</th><th>Lease</th></tr></thead>
<tbody>
${rows}
</tbody>
</table>`;
  const more =
    view.next === undefined
      ? ''
      : `<p><a href="/status?after=${escapeHtml(encodeURIComponent(view.next))}">Next page</a></p>`;
  return page(
    'Registry: instances',
    `<p>${escapeHtml(new Date(view.nowMs).toISOString())} · store ${escapeHtml(view.storeKind)} · key <code>${escapeHtml(view.activeKeyId)}</code></p>
${view.instances.length === 0 ? '<p class="none">No instances.</p>' : table}
${more}`,
  );
}

function rowOf(row: InstanceSummary, nowMs: number): string {
  const time = (ms: number | undefined) =>
    ms === undefined
      ? '<span class="none">never</span>'
      : escapeHtml(new Date(ms).toISOString().replace('.000Z', 'Z'));
  const lease = row.lease
    ? `${escapeHtml(row.lease.owner)} until ${escapeHtml(new Date(row.lease.expiresAtMs).toISOString())}`
    : '<span class="none">free</span>';
  const denied = row.deniedReads > 0 ? ` denied` : '';
  return `<tr><td class="id">${escapeHtml(row.instanceId)}</td><td>${time(row.updatedAtMs)}</td><td>${escapeHtml(row.updatedBy)}</td><td>${time(row.lastReadAtMs)}</td><td class="number">${escapeHtml(ageOf(nowMs - row.createdAtMs))}</td><td class="number">${row.reads}</td><td class="number${denied}">${row.deniedReads}</td><td class="number">${row.activeTokens}</td><td>${lease}</td></tr>`;
}

/** Two units at most: `3 d 4 h`. */
export function ageOf(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3_600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [seconds % 60, 's'],
  ] as const;
  const first = parts.findIndex(([value]) => value > 0);
  if (first < 0) return '0 s';
  return parts
    .slice(first, first + 2)
    .filter(([value]) => value > 0)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(' ');
}
