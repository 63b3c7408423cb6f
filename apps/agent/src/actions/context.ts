import type { CommandRunner } from '@microbosh/host';
import type { Applier } from '../apply/applier.ts';
import type { SpecStore } from '../apply/spec-store.ts';
import type { BlobManager } from '../blobstore/blob-manager.ts';
import type { LocalBlobs } from '../blobstore/local-blobs.ts';
import type { Compiler } from '../compile/compiler.ts';
import type { Layout } from '../layout.ts';
import type { AgentHost } from '../ports/host.ts';
import type { Log } from '../ports/log.ts';
import type { JobSupervisor } from '../supervisor/port.ts';
import type { TaskManager } from '../tasks/task-manager.ts';
import type { Vitals } from '../vitals/vitals.ts';

/** What actions work with. */
export interface AgentParts {
  readonly layout: Layout;
  readonly host: AgentHost;
  readonly runner: CommandRunner;
  readonly log: Log;
  readonly supervisor: JobSupervisor;
  readonly specs: SpecStore;
  readonly applier: Applier;
  readonly compiler: Compiler;
  readonly blobs: BlobManager;
  readonly localBlobs: LocalBlobs;
  readonly vitals: Vitals;
  readonly tasks: TaskManager;
  /** Publishes on the message bus; nothing over HTTPS. */
  readonly publish: (subject: 'shutdown' | 'alert' | 'heartbeat', message: unknown) => void;
  /** Ends this process a moment later, so that the answer still goes out; the service manager starts it again. */
  readonly restartAgent: (reason: string) => void;
}
