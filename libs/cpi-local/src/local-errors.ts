import { OperationalError } from '@microbosh/errors';

/** This machine or this process cannot run namespace VMs: no root, a program is missing, no merged /usr. */
export class LocalHostUnfit extends OperationalError {
  readonly code = 'E_LOCAL_HOST_UNFIT';
}

/** A record under the root directory cannot be read: damaged, or written by a newer version. */
export class LocalRecordInvalid extends OperationalError {
  readonly code = 'E_LOCAL_RECORD_INVALID';
}

/** A resource could not be proven free (mounted, busy, alive), so nothing was removed. */
export class LocalResourceBusy extends OperationalError {
  readonly code = 'E_LOCAL_RESOURCE_BUSY';
  override readonly retryable = true;
}
