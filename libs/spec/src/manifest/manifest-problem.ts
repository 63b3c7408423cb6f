import { OperationalError } from '@microbosh/errors';
import { formatPosition, type Position } from '../yaml/source-file.ts';

/** One thing that is wrong with a document. */
export interface ManifestProblem {
  /** `warning`: the originals ignore it silently, so it does not stop a deploy. */
  readonly severity: 'error' | 'warning';
  readonly message: string;
  readonly position: Position;
  /** Place in the document in ops-file notation, `/instance_groups/0/name`. */
  readonly path: string;
  /** `did you mean 'x'?` */
  readonly suggestion?: string;
}

/** The manifest was understood, but it cannot be deployed. Carries all problems at once. */
export class ManifestInvalid extends OperationalError {
  readonly code = 'E_MANIFEST_INVALID';
  readonly problems: readonly ManifestProblem[];

  constructor(what: string, problems: readonly ManifestProblem[]) {
    super(`${what}:\n${problems.map((problem) => `  - ${formatProblem(problem)}`).join('\n')}`, {
      details: {
        problems: problems.map(({ severity, message, position, path, suggestion }) => ({
          severity,
          message,
          path,
          ...position,
          ...(suggestion === undefined ? {} : { suggestion }),
        })),
      },
      advice: 'Correct the manifest at these places.',
    });
    this.problems = problems;
  }
}

export function formatProblem(problem: ManifestProblem): string {
  const hint = problem.suggestion === undefined ? '' : `, did you mean '${problem.suggestion}'?`;
  return `${formatPosition(problem.position)}: ${problem.message}${hint} (at ${problem.path === '' ? '/' : problem.path})`;
}
