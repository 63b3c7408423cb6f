import { OperationalError } from '@microbosh/errors';

/** The key at hand cannot open what is stored: another key under the same name, or changed bytes. */
export class WrongKey extends OperationalError {
  readonly code = 'E_REGISTRY_WRONG_KEY';
}

/** Rows are sealed with a key that this process does not have. */
export class KeyMissing extends OperationalError {
  readonly code = 'E_REGISTRY_KEY_MISSING';
}

/** The key file cannot be used: its form, its owner or its mode. */
export class KeyFileRefused extends OperationalError {
  readonly code = 'E_REGISTRY_KEY_FILE';
}

/** The store cannot serve now: locked, restarting, unreachable. */
export class StoreUnavailable extends OperationalError {
  readonly code = 'E_REGISTRY_STORE_UNAVAILABLE';
  override readonly retryable = true;
}

/** The store has no room. Nothing of the request was kept. */
export class StoreFull extends OperationalError {
  readonly code = 'E_REGISTRY_STORE_FULL';
  override readonly retryable = true;
}

/** The database was made by a newer version of this program. */
export class SchemaTooNew extends OperationalError {
  readonly code = 'E_REGISTRY_SCHEMA_TOO_NEW';
}

/** The database holds something that this program did not write. */
export class StoreCorrupt extends OperationalError {
  readonly code = 'E_REGISTRY_STORE_CORRUPT';
}

/** The IaaS could not tell which addresses an instance has. */
export class AddressLookupFailed extends OperationalError {
  readonly code = 'E_REGISTRY_ADDRESS_LOOKUP';
  override readonly retryable = true;
}

/** The options contradict each other or name something that is not there. */
export class RegistryMisconfigured extends OperationalError {
  readonly code = 'E_REGISTRY_CONFIG';
}

/** A backup or export file is cut short, changed, or not ours. */
export class BackupRefused extends OperationalError {
  readonly code = 'E_REGISTRY_BACKUP';
}
