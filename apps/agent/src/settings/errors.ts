import { OperationalError } from '@microbosh/errors';

/** One source has no settings for this machine now; the next one is tried, then the cached copy. */
export class SettingsUnavailable extends OperationalError {
  readonly code = 'E_SETTINGS_UNAVAILABLE';
  override readonly retryable = true;
}

/** A document arrived, but it is not what the agent can run with. */
export class SettingsInvalid extends OperationalError {
  readonly code = 'E_SETTINGS_INVALID';
}
