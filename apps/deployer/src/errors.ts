import { OperationalError } from '@microbosh/errors';

/** Another process works on this environment. */
export class EnvironmentLocked extends OperationalError {
  readonly code = 'E_LOCKED';
  override readonly retryable = true;
}

/** The state file cannot be read as one, or is of a newer version. Nothing is done on a guess. */
export class StateUnreadable extends OperationalError {
  readonly code = 'E_STATE_UNREADABLE';
}

/** There is no state file, and a path that was given cannot be right. */
export class StateAbsent extends OperationalError {
  readonly code = 'E_STATE_ABSENT';
}

/** The state file or the journal beside it could not be written. */
export class StateNotWritten extends OperationalError {
  readonly code = 'E_STATE_NOT_WRITTEN';
}

/** The journal contradicts itself: not written by this program, or damaged in its middle. */
export class JournalDamaged extends OperationalError {
  readonly code = 'E_JOURNAL_DAMAGED';
}

/** There is nothing on record to work on. */
export class NoEnvironment extends OperationalError {
  readonly code = 'E_NO_ENVIRONMENT';
}

/** The persistent disk on record is gone. A new, empty one would hide the loss. */
export class PersistentDiskLost extends OperationalError {
  readonly code = 'E_PERSISTENT_DISK_LOST';
}

/** The data of the present persistent disk does not fit on the one that is asked for; nothing was changed. */
export class DiskTooSmall extends OperationalError {
  readonly code = 'E_DISK_TOO_SMALL';
}

/** The manifest names a CPI that this program does not ship. */
export class UnknownProvider extends OperationalError {
  readonly code = 'E_UNKNOWN_PROVIDER';
}

/** The manifest asks for something that this front end cannot do. */
export class ManifestUnsupported extends OperationalError {
  readonly code = 'E_MANIFEST_UNSUPPORTED';
}

/** The CPI says beforehand that the cloud cannot give what the deployment asks for; nothing was changed. */
export class CloudUnfit extends OperationalError {
  readonly code = 'E_CLOUD_UNFIT';
}

/** The agent did not answer in time, or answered in a way that waiting cannot cure. */
export class AgentNotReady extends OperationalError {
  readonly code = 'E_AGENT_NOT_READY';
}

/** A call of the CPI or a task of the agent took longer than its limit. */
export class StepTimedOut extends OperationalError {
  readonly code = 'E_TIME_LIMIT';
}

/** The jobs did not reach the state `running` in the time the manifest gives them. */
export class InstanceNotRunning extends OperationalError {
  readonly code = 'E_INSTANCE_NOT_RUNNING';
}

/** The service does not answer its readiness check. */
export class ServiceNotReady extends OperationalError {
  readonly code = 'E_SERVICE_NOT_READY';
}

/** A certificate would not be accepted by those who have to verify it. */
export class CertificateUnusable extends OperationalError {
  readonly code = 'E_CERTIFICATE_UNUSABLE';
}

/** The key with which the tunnel to the registry is opened. */
export class TunnelKeyUnusable extends OperationalError {
  readonly code = 'E_TUNNEL_KEY_UNUSABLE';
}

/** The plan was made for another state of the environment. */
export class PlanOutdated extends OperationalError {
  readonly code = 'E_PLAN_OUTDATED';
}

/** A release, a job or a package is not as the deployment needs it. */
export class ReleaseUnusable extends OperationalError {
  readonly code = 'E_RELEASE_UNUSABLE';
}

/** The stemcell is not one that this deployment can use. */
export class StemcellUnusable extends OperationalError {
  readonly code = 'E_STEMCELL_UNUSABLE';
}

/** A state cannot be begun with what is in the cloud: there is one, or it is not clear what belongs to it. */
export class AdoptRefused extends OperationalError {
  readonly code = 'E_ADOPT_REFUSED';
}

/** There is no way into the VM by SSH: no client here, no user there. */
export class SshUnavailable extends OperationalError {
  readonly code = 'E_SSH_UNAVAILABLE';
}

/** BOSH_ALL_PROXY cannot be used. */
export class ProxyInvalid extends OperationalError {
  readonly code = 'E_PROXY';
}

/** What a `micro` command was asked for does not fit what is selected or what exists. */
export class MicroRefused extends OperationalError {
  readonly code = 'E_MICRO_REFUSED';
}

/** What the operator did not confirm is not done. */
export class NotConfirmed extends OperationalError {
  readonly code = 'E_NOT_CONFIRMED';
}
