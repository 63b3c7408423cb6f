import type { Static } from 'typebox';
import type { BootstrapReportSchema } from './schemas.ts';

export type BootstrapReport = Static<typeof BootstrapReportSchema>;

/** The report as people read it: one line per step, milliseconds first. */
export function formatBootstrapReport(report: BootstrapReport): string {
  const totalMs = report.steps.reduce((sum, step) => sum + step.durationMs, 0);
  const lines = report.steps.map(({ name, outcome, reason, durationMs }) => {
    const what = reason === undefined || reason === '' ? outcome : `${outcome}: ${reason}`;
    return `${durationMs.toFixed(1).padStart(9)} ms  ${name.padEnd(20)}  ${what}`;
  });
  return `Bootstrap of ${report.startedAt}\n${lines.join('\n')}\n${totalMs.toFixed(1).padStart(9)} ms  in all\n`;
}
