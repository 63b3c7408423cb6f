import { OperationalError } from '@microbosh/errors';

export class DiskNotFound extends OperationalError {
  readonly code = 'E_DISK_NOT_FOUND';
  override readonly retryable = true;
}

/** The disk holds something that the agent did not put there: it is never partitioned or formatted. */
export class DiskForeign extends OperationalError {
  readonly code = 'E_DISK_FOREIGN';

  constructor(device: string, finding: string) {
    super(`The disk ${device} is left as it is: ${finding}.`, {
      details: { device },
      advice:
        'If nothing on it is needed, erase it by hand (wipefs --all on the device); otherwise attach the right disk.',
    });
  }
}

export class DiskBusy extends OperationalError {
  readonly code = 'E_DISK_BUSY';
  override readonly retryable = true;
}

export class DiskOperationFailed extends OperationalError {
  readonly code = 'E_DISK';
}

export class MigrationRefused extends OperationalError {
  readonly code = 'E_DISK_MIGRATION';
}
