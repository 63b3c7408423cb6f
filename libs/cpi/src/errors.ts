import { OperationalError, type ErrorCode, type Json, type JsonObject } from '@microbosh/errors';

export interface CpiErrorOptions {
  readonly okToRetry?: boolean;
  readonly cause?: unknown;
  readonly advice?: string;
  readonly details?: JsonObject;
}

/**
 * A CPI's answer that is an error. `type` and `message` travel on the wire (CPI API, field `error`); `okToRetry` says
 * that the same call may succeed later.
 */
export abstract class CpiError extends OperationalError {
  abstract readonly type: string;
  readonly okToRetry: boolean;
  override readonly retryable: boolean;

  constructor(message: string, options: CpiErrorOptions = {}) {
    super(message, options);
    this.okToRetry = options.okToRetry ?? false;
    this.retryable = this.okToRetry;
  }
}

/** The CPI itself does not work: its configuration, its request. */
export class GenericCpiError extends CpiError {
  readonly code: ErrorCode = 'E_CPI';
  readonly type = 'Bosh::Clouds::CpiError';
}

export class NotImplemented extends CpiError {
  readonly code = 'E_CPI_NOT_IMPLEMENTED';
  readonly type = 'Bosh::Clouds::NotImplemented';
}

export class NotSupported extends CpiError {
  readonly code = 'E_CPI_NOT_SUPPORTED';
  readonly type = 'Bosh::Clouds::NotSupported';
}

/** The infrastructure refused or failed. */
export class CloudError extends CpiError {
  readonly code = 'E_CPI_CLOUD';
  readonly type = 'Bosh::Clouds::CloudError';
}

export class VmNotFound extends CpiError {
  readonly code = 'E_CPI_VM_NOT_FOUND';
  readonly type = 'Bosh::Clouds::VMNotFound';

  constructor(vmCid: string, options: CpiErrorOptions & { readonly message?: string } = {}) {
    super(options.message ?? `VM '${vmCid}' not found`, options);
  }
}

export class DiskNotFound extends CpiError {
  readonly code = 'E_CPI_DISK_NOT_FOUND';
  readonly type = 'Bosh::Clouds::DiskNotFound';

  constructor(diskCid: string, options: CpiErrorOptions & { readonly message?: string } = {}) {
    super(options.message ?? `Disk '${diskCid}' not found`, options);
  }
}

/** Known to create-env only: our CPIs answer a Director with success instead. */
export class StemcellNotFound extends CpiError {
  readonly code = 'E_CPI_STEMCELL_NOT_FOUND';
  readonly type = 'Bosh::Clouds::StemcellNotFound';

  constructor(stemcellCid: string, options: CpiErrorOptions & { readonly message?: string } = {}) {
    super(options.message ?? `Stemcell '${stemcellCid}' not found`, options);
  }
}

export class NetworkNotFound extends CpiError {
  readonly code = 'E_CPI_NETWORK_NOT_FOUND';
  readonly type = 'Bosh::Clouds::NetworkNotFound';
}

export class DiskNotAttached extends CpiError {
  readonly code = 'E_CPI_DISK_NOT_ATTACHED';
  readonly type = 'Bosh::Clouds::DiskNotAttached';
}

export class NoDiskSpace extends CpiError {
  readonly code = 'E_CPI_NO_DISK_SPACE';
  readonly type = 'Bosh::Clouds::NoDiskSpace';
}

export class VmCreationFailed extends CpiError {
  readonly code = 'E_CPI_VM_CREATION_FAILED';
  readonly type = 'Bosh::Clouds::VMCreationFailed';
}

/** The request has wrong arguments. */
export class InvalidCall extends CpiError {
  readonly code = 'E_CPI_INVALID_CALL';
  readonly type = 'InvalidCall';
}

/** A type that is not in the contract's list; kept as the CPI sent it. */
export class UnknownCpiError extends CpiError {
  readonly code = 'E_CPI_UNKNOWN';
  readonly type: string;

  constructor(type: string, message: string, options: CpiErrorOptions = {}) {
    super(message, options);
    this.type = type;
  }
}

/** The CPI executable ended without an answer. */
export class CpiCrashed extends OperationalError {
  readonly code = 'E_CPI_CRASHED';
}

/** The CPI executable printed something that is not one response of the contract. */
export class CpiAnswerInvalid extends OperationalError {
  readonly code = 'E_CPI_ANSWER_INVALID';
}

/** The CPI executable did not answer within its time limit and was ended with its process group. */
export class CpiTimedOut extends OperationalError {
  readonly code = 'E_CPI_TIMED_OUT';
}

/** There is no CPI executable at the given path, or it may not be executed. */
export class CpiNotExecutable extends OperationalError {
  readonly code = 'E_CPI_NOT_EXECUTABLE';
}

/** `error` of a response. */
export interface WireError {
  readonly type: string;
  readonly message: string;
  readonly ok_to_retry: boolean;
}

/** What a CPI answers for an error; anything that is not a CpiError becomes a CloudError. */
export function wireErrorOf(error: unknown): WireError {
  if (error instanceof CpiError) {
    return { type: error.type, message: withAdvice(error), ok_to_retry: error.okToRetry };
  }
  const message = error instanceof Error ? withAdvice(error) : String(error);
  const retryable = error instanceof OperationalError && error.retryable;
  return { type: 'Bosh::Clouds::CloudError', message, ok_to_retry: retryable };
}

function withAdvice(error: Error): string {
  const advice = error instanceof OperationalError ? error.advice : undefined;
  return advice === undefined ? error.message : `${error.message} (${advice})`;
}

/**
 * The error class of a response. Two older ways to say "not implemented" are recognised: `InvalidCall` of the Ruby
 * library and `CloudError` of the Director's own CPI.
 */
export function errorFromWire(error: WireError, subject: { readonly cid?: Json } = {}): CpiError {
  const { type, message } = error;
  const options = { okToRetry: error.ok_to_retry };
  const cid = typeof subject.cid === 'string' ? subject.cid : '';
  if (
    (type === 'InvalidCall' && message.startsWith('Method is not known, got')) ||
    (type === 'Bosh::Clouds::CloudError' && message.startsWith('Invalid Method:'))
  ) {
    return new NotImplemented(message, options);
  }
  switch (type) {
    case 'Bosh::Clouds::CpiError':
      return new GenericCpiError(message, options);
    case 'Bosh::Clouds::NotImplemented':
      return new NotImplemented(message, options);
    case 'Bosh::Clouds::NotSupported':
      return new NotSupported(message, options);
    case 'Bosh::Clouds::CloudError':
      return new CloudError(message, options);
    case 'Bosh::Clouds::VMNotFound':
      return new VmNotFound(cid, { ...options, message });
    case 'Bosh::Clouds::DiskNotFound':
      return new DiskNotFound(cid, { ...options, message });
    case 'Bosh::Clouds::StemcellNotFound':
      return new StemcellNotFound(cid, { ...options, message });
    case 'Bosh::Clouds::NetworkNotFound':
      return new NetworkNotFound(message, options);
    case 'Bosh::Clouds::DiskNotAttached':
      return new DiskNotAttached(message, options);
    case 'Bosh::Clouds::NoDiskSpace':
      return new NoDiskSpace(message, options);
    case 'Bosh::Clouds::VMCreationFailed':
      return new VmCreationFailed(message, options);
    case 'InvalidCall':
      return new InvalidCall(message, options);
    default:
      return new UnknownCpiError(type, message, options);
  }
}
