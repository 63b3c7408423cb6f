import { OperationalError } from '@microbosh/errors';
import type { TemplateContext } from './evaluation-context.ts';
import { explainProperty } from './explain-property.ts';
import type { RubyFailure } from './messages.ts';
import { redactValues } from './redact-values.ts';

/** The embedded interpreter does not start: the installation is damaged, or the machine has no memory left. */
export class RendererUnavailable extends OperationalError {
  readonly code = 'E_RENDERER_UNAVAILABLE';
}

/** One template that could not be rendered, in words that hold no value of the manifest. */
export interface TemplateFailure {
  readonly job: string;
  readonly template: string;
  /** Line of the template, when the interpreter knows it. */
  readonly line?: number;
  /** The text that create-env prints. */
  readonly message: string;
  /** Where the properties of the failing lookup are set, or why they are not. */
  readonly hints: readonly string[];
}

/** Templates failed: all of them are listed, in the order of the jobs. */
export class TemplatesFailed extends OperationalError {
  readonly code = 'E_TEMPLATE_FAILED';
  readonly failures: readonly TemplateFailure[];

  constructor(failures: readonly TemplateFailure[]) {
    super(failures.map((failure) => failure.message).join('\n'), {
      advice: [...new Set(failures.flatMap((failure) => failure.hints))].join('\n'),
      details: {
        templates: failures.map(({ job, template, line }) => ({ job, template, line: line ?? null })),
      },
    });
    this.failures = failures;
  }
}

/** A template that raised, in create-env's words; values of the manifest inside Ruby's text are named, not shown. */
export function describeRaised(
  context: TemplateContext,
  template: string,
  raised: RubyFailure,
): TemplateFailure {
  // Names of properties come from templates and release authors; only other errors can carry values.
  const isLookup = raised.class.endsWith('UnknownProperty') || raised.class.endsWith('UnknownLink');
  const shown = isLookup ? raised.inspect : redactValues(raised.inspect, context);
  const line = raised.line ?? 'unknown';
  const failure = {
    job: context.job,
    template,
    message: `Error filling in template '${template}' for ${raised.subject ?? '/'} (line ${line}: ${shown})`,
    hints: [
      ...(raised.syntaxLine === null
        ? []
        : [`The template is not valid Ruby near line ${raised.syntaxLine}.`]),
      ...raised.properties.map((name) => explainProperty(context, name)),
      ...(raised.class.endsWith('UnknownLink') ? context.unresolvedLinks : []),
    ],
  };
  const knownLine = raised.line ?? raised.syntaxLine;
  return knownLine === null ? failure : { ...failure, line: Number(knownLine) };
}

/** A template that had to be stopped. */
export function describeStopped(context: TemplateContext, template: string, reason: string): TemplateFailure {
  return {
    job: context.job,
    template,
    message: `Error filling in template '${template}' for ${context.job}/0 (line unknown: ${reason})`,
    hints: [
      `Correct the template '${template}' of job '${context.job}', or the properties that lead it astray.`,
    ],
  };
}
