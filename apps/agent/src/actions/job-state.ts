import { access, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileDurably } from '@microbosh/host';
import type { Layout } from '../layout.ts';
import type { JobState, JobSupervisor, ProcessStatus } from '../supervisor/port.ts';

/** The state of all jobs together; `unknown` when the supervisor cannot be asked. */
export async function jobState(parts: {
  readonly layout: Layout;
  readonly supervisor: JobSupervisor;
}): Promise<JobState> {
  try {
    return await jobStateOf(parts.layout, await parts.supervisor.processes());
  } catch {
    return 'unknown';
  }
}

/** As the Go agent maps it: stopped by order, then starting, then any that does not run. */
export async function jobStateOf(layout: Layout, processes: readonly ProcessStatus[]): Promise<JobState> {
  const isStopped = await access(layout.stopped).then(
    () => true,
    () => false,
  );
  if (isStopped) return 'stopped';
  if (processes.some(({ state }) => state === 'starting')) return 'starting';
  return processes.every(({ state }) => state === 'running') ? 'running' : 'failing';
}

export async function writeHealth(layout: Layout, state: JobState): Promise<void> {
  const path = join(layout.instance, 'health.json');
  const content = JSON.stringify({ state });
  if ((await readFile(path, 'utf8').catch(() => '')) === content) return;
  await mkdir(layout.instance, { recursive: true, mode: 0o755 });
  await writeFileDurably(path, content, { mode: 0o644 });
}
