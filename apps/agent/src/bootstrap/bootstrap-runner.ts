import type { BootstrapReport } from '@microbosh/agent-protocol';
import { isOperationalError, messageOf, OperationalError } from '@microbosh/errors';
import { writeFileDurably } from '@microbosh/host';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { HostContext } from '../platform/host-context.ts';
import type { Bootstrap } from '../ports/host.ts';
import type { BootstrapStep, StepResult } from './step.ts';

export class BootstrapFailed extends OperationalError {
  readonly code = 'E_BOOTSTRAP_FAILED';
  override readonly retryable = true;
  readonly report: BootstrapReport;

  constructor(step: string, report: BootstrapReport, cause: unknown) {
    super(`The machine could not be made ready: step '${step}' failed: ${messageOf(cause)}`, {
      details: { step },
      advice:
        (isOperationalError(cause) ? cause.advice : undefined) ??
        'See `microbosh-agent bootstrap-report` on the machine; the agent tries again when it is restarted.',
      cause,
    });
    this.report = report;
  }
}

export interface BootstrapEvent {
  readonly step: string;
  /** `change` events come from within a step, around each single change. */
  readonly phase: 'started' | 'before-change' | 'after-change' | 'finished';
  readonly change?: string;
}

export interface BootstrapRunnerOptions {
  readonly steps: readonly BootstrapStep[];
  readonly context: HostContext;
  readonly onEvent?: (event: BootstrapEvent) => void | Promise<void>;
}

/**
 * Runs the steps in order and writes the report, also when a step fails; then it throws BootstrapFailed, whose `report`
 * is the same.
 */
export class BootstrapRunner implements Bootstrap {
  readonly #options: BootstrapRunnerOptions;

  constructor(options: BootstrapRunnerOptions) {
    this.#options = options;
  }

  async run(signal?: AbortSignal): Promise<BootstrapReport> {
    const startedAt = new Date().toISOString();
    const steps: BootstrapReport['steps'] = [];
    const of = this.#options.steps.length;
    for (const [index, step] of this.#options.steps.entries()) {
      signal?.throwIfAborted();
      // Who waits for the agent reads on the console where it is.
      this.#options.context.log.info({ step: step.name, number: index + 1, of }, 'Bootstrap step begins.');
      await this.#emit({ step: step.name, phase: 'started' });
      const startedMs = performance.now();
      const elapsed = () => Math.round((performance.now() - startedMs) * 10) / 10;
      try {
        const result = await this.#runStep(step, signal);
        steps.push(reportOf(step.name, result, elapsed()));
        this.#log(step.name, result, elapsed());
      } catch (error) {
        steps.push({ name: step.name, outcome: 'failed', reason: messageOf(error), durationMs: elapsed() });
        const report = { startedAt, steps };
        await this.#write(report);
        throw new BootstrapFailed(step.name, report, error);
      }
      await this.#emit({ step: step.name, phase: 'finished' });
    }
    const report = { startedAt, steps };
    await this.#write(report);
    return report;
  }

  async #runStep(step: BootstrapStep, signal: AbortSignal | undefined): Promise<StepResult> {
    const deadline = AbortSignal.timeout(step.timeoutMs);
    return step.run({
      ...this.#options.context,
      signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
      onChange: async (phase, change) => {
        await this.#emit({
          step: step.name,
          phase: phase === 'before' ? 'before-change' : 'after-change',
          change,
        });
      },
    });
  }

  async #emit(event: BootstrapEvent): Promise<void> {
    await this.#options.onEvent?.(event);
  }

  #log(step: string, result: StepResult, durationMs: number): void {
    const fields = { step, ...result, durationMs };
    if (result.outcome === 'unchanged') this.#options.context.log.debug(fields, 'Bootstrap step finished.');
    else this.#options.context.log.info(fields, 'Bootstrap step finished.');
  }

  async #write(report: BootstrapReport): Promise<void> {
    const path = this.#options.context.paths.bootstrapReport;
    await mkdir(dirname(path), { recursive: true });
    await writeFileDurably(path, `${JSON.stringify(report, null, 2)}\n`);
  }
}

function reportOf(name: string, result: StepResult, durationMs: number): BootstrapReport['steps'][number] {
  switch (result.outcome) {
    case 'done':
      return { name, outcome: 'done', reason: result.changes.join('; '), durationMs };
    case 'unchanged':
      return { name, outcome: 'unchanged', durationMs };
    case 'skipped':
      return { name, outcome: 'skipped', reason: result.reason, durationMs };
  }
}
