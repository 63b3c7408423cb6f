import type { DeployEvent, Progress, Started } from '../events/events.ts';

export interface StageRendererOptions {
  readonly write: (text: string) => void;
  /** Redraw the line of the running step with its progress. Only for a real terminal. */
  readonly live: boolean;
  readonly columns?: number;
}

interface OpenScope {
  readonly name: string;
  readonly level: number;
  readonly kind: 'stage' | 'step';
  readonly parent: string | undefined;
  readonly startedAtMs: number;
  /** What is known of how far it is. */
  progress: Progress | undefined;
  /** First report of a transfer, to tell the time that is left. */
  firstBytes: { readonly atMs: number; readonly done: number } | undefined;
  /** When a line of progress was printed last, and which. */
  toldAtMs: number;
  told: string;
}

/** In a pipe, what is being waited for is told this often, and only when it changed. */
const plainIntervalMs = 10_000;

/**
 * Prints events in the grammar of create-env: `name... Finished (00:00:01)`, stages as `Started …` / `Finished …`,
 * two spaces per level. Scripts read these lines.
 */
export class StageRenderer {
  readonly #options: StageRendererOptions;
  readonly #open = new Map<string, OpenScope>();
  /** The step whose line has no line end yet. */
  #unfinishedLine: string | undefined;
  #progressShown = false;
  /** Levels at which a stage was the last thing printed. */
  readonly #afterStage = new Set<number>();
  #printedAnything = false;

  constructor(options: StageRendererOptions) {
    this.#options = options;
  }

  readonly handle = (event: DeployEvent): void => {
    switch (event.type) {
      case 'started':
        return this.#started(event);
      case 'progress':
        return this.#progress(event);
      case 'finished':
        return this.#ended(event.id, 'Finished', event.durationMs);
      case 'skipped':
        return this.#ended(event.id, `Skipped [${event.reason}]`, event.durationMs);
      case 'failed':
        return this.#ended(event.id, 'Failed', event.durationMs);
      case 'message':
        this.#endLine();
        if (this.#afterStage.delete(0)) this.#write('\n');
        return this.#write(`${event.level === 'warning' ? 'Warning: ' : ''}${event.text}\n`);
      default:
        return event satisfies never;
    }
  };

  /** The last line of a command that went well; commands that print a document or a table end with that. */
  succeeded(): void {
    if (!this.#printedAnything) return;
    this.#endLine();
    this.#write('\nSucceeded\n');
  }

  /** Draws the line of the running step again: its time goes on although nothing is reported. */
  tick(nowMs: number): void {
    const id = this.#unfinishedLine;
    const scope = id === undefined ? undefined : this.#open.get(id);
    if (this.#options.live && scope !== undefined && nowMs - scope.startedAtMs >= 1_000) {
      this.#draw(scope, nowMs);
    }
  }

  #started({ id, name, kind, parent, time }: Started): void {
    this.#endLine();
    const level = parent === undefined ? 0 : (this.#open.get(parent)?.level ?? -1) + 1;
    const startedAtMs = Date.parse(time);
    this.#open.set(id, {
      name,
      level,
      kind,
      parent,
      startedAtMs,
      progress: undefined,
      firstBytes: undefined,
      toldAtMs: startedAtMs,
      told: '',
    });
    const indent = '  '.repeat(level);
    if (kind === 'stage') {
      this.#afterStage.delete(level);
      this.#write(`\n${indent}Started ${name}\n`);
      return;
    }
    if (this.#afterStage.delete(level)) this.#write('\n');
    this.#write(`${indent}${name}...`);
    this.#unfinishedLine = id;
  }

  #progress(event: Progress): void {
    const scope = this.#open.get(event.id);
    if (scope === undefined) return;
    const nowMs = Date.parse(event.time);
    scope.progress = { ...scope.progress, ...event };
    if (event.unit === 'bytes' && event.done !== undefined) {
      const begins = scope.firstBytes === undefined || event.done < scope.firstBytes.done;
      if (begins) scope.firstBytes = { atMs: nowMs, done: event.done };
    }
    if (scope.kind === 'stage') return;
    if (!this.#options.live) this.#tellPlainly(scope, nowMs);
    else if (this.#unfinishedLine === event.id) this.#draw(scope, nowMs);
  }

  #draw(scope: OpenScope, nowMs: number): void {
    const parts = describeProgress(scope, nowMs);
    const elapsedMs = nowMs - scope.startedAtMs;
    if (elapsedMs >= 1_000) parts.push(`${Math.floor(elapsedMs / 1_000)} s`);
    const stage = scope.parent === undefined ? undefined : this.#open.get(scope.parent)?.progress;
    if (stage?.total !== undefined) parts.push(`step ${(stage.done ?? 0) + 1} of ${stage.total}`);
    const line = `${'  '.repeat(scope.level)}${scope.name}... ${parts.join(', ')}`;
    this.#write(`\r\u001b[K${line.slice(0, Math.max(20, (this.#options.columns ?? 80) - 1))}`);
    this.#progressShown = true;
  }

  #tellPlainly(scope: OpenScope, nowMs: number): void {
    const text = describeProgress(scope, nowMs).join(', ');
    if (text === '' || text === scope.told || nowMs - scope.toldAtMs < plainIntervalMs) return;
    scope.told = text;
    scope.toldAtMs = nowMs;
    this.#endLine();
    this.#write(`${'  '.repeat(scope.level + 1)}${scope.name}: ${text}\n`);
  }

  #ended(id: string, verb: string, durationMs: number): void {
    const scope = this.#open.get(id);
    if (scope === undefined) return;
    this.#open.delete(id);
    const indent = '  '.repeat(scope.level);
    const time = `(${formatDuration(durationMs)})`;
    if (scope.kind === 'stage') {
      this.#endLine();
      this.#afterStage.clear();
      this.#afterStage.add(scope.level);
      this.#write(`${indent}${verb} ${scope.name} ${time}\n`);
      return;
    }
    if (this.#unfinishedLine === id) {
      if (this.#progressShown) this.#write(`\r\u001b[K${indent}${scope.name}...`);
    } else {
      this.#endLine();
      this.#write(`${indent}${scope.name}...`);
    }
    this.#unfinishedLine = undefined;
    this.#progressShown = false;
    this.#write(` ${verb} ${time}\n`);
  }

  #endLine(): void {
    if (this.#unfinishedLine === undefined) return;
    this.#unfinishedLine = undefined;
    this.#progressShown = false;
    this.#write('\n');
  }

  #write(text: string): void {
    this.#printedAnything = true;
    this.#options.write(text);
  }
}

/** `HH:MM:SS`, floored, hours unbounded. */
export function formatDuration(durationMs: number): string {
  const seconds = Math.floor(durationMs / 1000);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60];
  return parts.map((part) => String(part).padStart(2, '0')).join(':');
}

function describeProgress(scope: OpenScope, nowMs: number): string[] {
  const { progress, firstBytes } = scope;
  const parts: string[] = [];
  if (progress?.message !== undefined) parts.push(progress.message);
  if (progress?.done === undefined) return parts;
  const { done, total, unit } = progress;
  if (unit === 'bytes')
    parts.push(`${mebibytes(done)}${total === undefined ? '' : ` of ${mebibytes(total)}`} MiB`);
  if (total !== undefined && total > 0) {
    parts.push(`${Math.floor((100 * done) / total)} %`);
    const spentMs = nowMs - (firstBytes?.atMs ?? nowMs);
    const moved = done - (firstBytes?.done ?? done);
    if (moved > 0 && spentMs >= 2_000 && done < total) {
      parts.push(`${Math.ceil(((spentMs / moved) * (total - done)) / 1_000)} s left`);
    }
  }
  return parts;
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
