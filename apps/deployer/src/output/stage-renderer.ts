import type { DeployEvent, Progress } from '../events/events.ts';

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
}

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
        return this.#started(event.id, event.name, event.kind, event.parent);
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

  #started(id: string, name: string, kind: 'stage' | 'step', parent: string | undefined): void {
    this.#endLine();
    const level = parent === undefined ? 0 : (this.#open.get(parent)?.level ?? -1) + 1;
    this.#open.set(id, { name, level, kind });
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
    if (!this.#options.live || scope === undefined || this.#unfinishedLine !== event.id) return;
    const text = describeProgress(event);
    const line = `${'  '.repeat(scope.level)}${scope.name}... ${text}`;
    this.#write(`\r\u001b[K${line.slice(0, Math.max(20, (this.#options.columns ?? 80) - 1))}`);
    this.#progressShown = true;
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

function describeProgress(event: Progress): string {
  const parts: string[] = [];
  if (event.total !== undefined && event.total > 0 && event.done !== undefined) {
    parts.push(`${Math.floor((100 * event.done) / event.total)} %`);
  }
  if (event.message !== undefined) parts.push(event.message);
  return parts.join(', ');
}
