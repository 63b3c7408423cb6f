import { OperationalError } from '@microbosh/errors';

/** QEMU answered a QMP command with an error. */
export class QmpCommandFailed extends OperationalError {
  readonly code = 'E_QEMU_QMP_COMMAND';
  /** `GenericError`, `DeviceNotFound`, … */
  readonly errorClass: string;

  constructor(command: string, errorClass: string, description: string) {
    super(`QEMU refused ${command}: ${description}`, { details: { command, errorClass } });
    this.errorClass = errorClass;
  }
}

/** QEMU's control socket does not answer, or ended in the middle of a conversation. */
export class QmpUnreachable extends OperationalError {
  readonly code = 'E_QEMU_QMP_UNREACHABLE';
  override readonly retryable = true;
}

/** Something that this provider needs is missing on this machine. */
export class QemuHostUnfit extends OperationalError {
  readonly code = 'E_QEMU_HOST_UNFIT';
}

/** QEMU did not start. */
export class QemuNotStarted extends OperationalError {
  readonly code = 'E_QEMU_NOT_STARTED';
}

/** A record of this provider cannot be read. */
export class QemuRecordInvalid extends OperationalError {
  readonly code = 'E_QEMU_RECORD_INVALID';
}
