import { BootstrapReportSchema, firstProblem, type BootstrapReport } from '@microbosh/agent-protocol';
import { OperationalError } from '@microbosh/errors';
import { readJsonObjectIfPresent } from '../platform/files.ts';

export class NoBootstrapReport extends OperationalError {
  readonly code = 'E_BOOTSTRAP_REPORT';
}

/** What the last bootstrap of this machine wrote. */
export async function readBootstrapReport(path: string): Promise<BootstrapReport> {
  const document = await readJsonObjectIfPresent(path);
  if (document === undefined) {
    throw new NoBootstrapReport(
      `There is no bootstrap report '${path}': no bootstrap has ended on this machine`,
      {
        advice: 'Wait for the agent, or look at its log: journalctl -u microbosh-agent.',
      },
    );
  }
  const problem = firstProblem(BootstrapReportSchema, document);
  if (problem !== undefined) {
    throw new NoBootstrapReport(`'${path}' is no bootstrap report: ${problem}`, {
      advice: 'Remove it; the next start of the agent writes a new one.',
    });
  }
  return document as unknown as BootstrapReport;
}
