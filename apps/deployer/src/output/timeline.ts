import { isJsonObject } from '@microbosh/errors';
import type { JsonObject } from '@microbosh/errors';

export interface TimelineEntry {
  readonly name: string;
  readonly level: number;
  readonly startedAtMs: number;
  /** Undefined: it was never seen to end. */
  durationMs: number | undefined;
  outcome: string;
}

export interface TimelineRun {
  readonly command: string;
  readonly startedAt: string;
  readonly entries: readonly TimelineEntry[];
  /** What was asked of the world outside. */
  readonly calls: Readonly<Record<string, CallSum>>;
}

export interface CallSum {
  count: number;
  durationMs: number;
}

/** Builds runs with their steps from recorded events. */
export function timelineOf(events: readonly JsonObject[]): TimelineRun[] {
  const runs: (TimelineRun & { entries: TimelineEntry[]; calls: Record<string, CallSum> })[] = [];
  let open = new Map<string, TimelineEntry>();
  for (const event of events) {
    const { type, id, parent, name, command, time, durationMs, error } = event;
    if (type === 'run') {
      runs.push({ command: textOf(command), startedAt: textOf(time), entries: [], calls: {} });
      open = new Map();
    } else if (type === 'started') {
      const level = typeof parent === 'string' ? (open.get(parent)?.level ?? -1) + 1 : 0;
      const entry: TimelineEntry = {
        name: textOf(name),
        level,
        startedAtMs: Date.parse(textOf(time)),
        durationMs: undefined,
        outcome: 'interrupted',
      };
      open.set(textOf(id), entry);
      runs.at(-1)?.entries.push(entry);
    } else if (type === 'call') {
      const calls = runs.at(-1)?.calls ?? {};
      const sum = (calls[textOf(event['to'])] ??= { count: 0, durationMs: 0 });
      sum.count += 1;
      sum.durationMs += typeof durationMs === 'number' ? durationMs : 0;
    } else {
      const entry = open.get(textOf(id));
      if (entry === undefined || typeof durationMs !== 'number') continue;
      entry.durationMs = durationMs;
      const message = isJsonObject(error) ? textOf(error['message']) : '';
      entry.outcome = type === 'failed' ? `failed: ${message}` : textOf(type);
    }
  }
  return runs;
}

export function renderTimelineText(runs: readonly TimelineRun[]): string {
  if (runs.length === 0) return 'No runs are on record.\n';
  return runs
    .map(({ command, startedAt, entries, calls }) => {
      const lines = entries.map(
        (entry) =>
          `${seconds(entry.durationMs).padStart(10)}  ${'  '.repeat(entry.level)}${entry.name} (${entry.outcome})\n`,
      );
      return `${startedAt} ${command}\n${lines.join('')}${callsLine(calls)}`;
    })
    .join('\n');
}

/** One page that needs nothing else. */
export function renderTimelineHtml(runs: readonly TimelineRun[]): string {
  const sections = runs.map(({ command, startedAt, entries, calls }) => {
    const begin = Math.min(...entries.map((entry) => entry.startedAtMs));
    const end = Math.max(...entries.map((entry) => entry.startedAtMs + (entry.durationMs ?? 0)));
    const span = Math.max(1, end - begin);
    const rows = entries.map((entry) => {
      const left = (100 * (entry.startedAtMs - begin)) / span;
      const width = Math.max(0.3, (100 * (entry.durationMs ?? 0)) / span);
      const bar = `<i class="${entry.outcome.split(':')[0]}" style="left:${left.toFixed(2)}%;width:${width.toFixed(2)}%"></i>`;
      return `<tr><td style="padding-left:${entry.level}em">${escapeHtml(entry.name)}</td><td>${seconds(entry.durationMs)}</td><td>${escapeHtml(entry.outcome)}</td><td class="bar">${bar}</td></tr>`;
    });
    return `<h2>${escapeHtml(command)} <small>${escapeHtml(startedAt)}</small></h2><table>${rows.join('')}</table><p>${escapeHtml(callsLine(calls))}</p>`;
  });
  return `<!doctype html><meta charset="utf-8"><title>Timeline</title><style>body{font:14px sans-serif}table{width:100%;border-collapse:collapse}td{padding:2px 6px;white-space:nowrap}.bar{width:50%;position:relative}i{position:absolute;height:60%;top:20%;background:#39c}i.failed{background:#c33}i.skipped{background:#bbb}i.interrupted{background:#c93}</style>${sections.join('')}\n`;
}

function callsLine(calls: TimelineRun['calls']): string {
  const sums = Object.entries(calls).map(
    ([to, { count, durationMs }]) => `${to} ${seconds(durationMs)} in ${count}`,
  );
  return sums.length === 0 ? '' : `  calls: ${sums.join(', ')}\n`;
}

function seconds(durationMs: number | undefined): string {
  return durationMs === undefined ? '-' : `${(durationMs / 1000).toFixed(2)} s`;
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

function escapeHtml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;');
}
