import { OperationalError } from '@microbosh/errors';

/** The registry could not be reached, or its connection was not trusted. */
export class RegistryUnreachable extends OperationalError {
  readonly code = 'E_REGISTRY_UNREACHABLE';
  override readonly retryable = true;
}

/** The registry answered, but not with what its contract promises. */
export class RegistryRefused extends OperationalError {
  readonly code = 'E_REGISTRY_REFUSED';
  override readonly retryable: boolean;
  readonly status: number;

  constructor(action: string, key: string, status: number) {
    super(`Cannot ${action} settings for '${key}', got HTTP ${status}`, {
      details: { key, status },
      advice:
        status === 401
          ? 'Check user and password of the registry in the CPI configuration.'
          : 'Look into the log of the registry for this request.',
    });
    this.status = status;
    this.retryable = status === 429 || status >= 500;
  }
}
