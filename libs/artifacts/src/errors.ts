import { OperationalError } from '@microbosh/errors';

/** An archive cannot be read to its end: truncated, not an archive, or compressed with something unknown. */
export class ArchiveDamaged extends OperationalError {
  readonly code = 'E_ARCHIVE_DAMAGED';
}

/** An archive holds what no honest one does: paths or links that lead out of it, devices, a bomb. */
export class ArchiveUnsafe extends OperationalError {
  readonly code = 'E_ARCHIVE_UNSAFE';
}

/** Content is not what its digest says. */
export class DigestMismatch extends OperationalError {
  readonly code = 'E_DIGEST_MISMATCH';
}

/** A release or stemcell lacks something that its own manifest, or the deployment manifest, names. */
export class ArtifactIncomplete extends OperationalError {
  readonly code = 'E_ARTIFACT_INCOMPLETE';
}

/** The file of an artifact is not there, or cannot be read. */
export class ArtifactUnreadable extends OperationalError {
  readonly code = 'E_ARTIFACT_UNREADABLE';
}

/** The disk is full. */
export class ArtifactNoRoom extends OperationalError {
  readonly code = 'E_ARTIFACT_NO_ROOM';
}

/** An artifact could not be downloaded. */
export class DownloadFailed extends OperationalError {
  readonly code = 'E_DOWNLOAD_FAILED';
  override readonly retryable: boolean;

  constructor(
    message: string,
    options: ConstructorParameters<typeof OperationalError>[1] & { retryable?: boolean },
  ) {
    super(message, options);
    this.retryable = options?.retryable ?? false;
  }
}

/** The source directory of a release cannot be made into one. */
export class ReleaseSourceInvalid extends OperationalError {
  readonly code = 'E_RELEASE_SOURCE_INVALID';
}
