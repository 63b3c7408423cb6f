import { OperationalError } from '@microbosh/errors';

/** The request cannot be met: an operating system or IaaS that the builder does not know. */
export class StemcellRequestInvalid extends OperationalError {
  readonly code = 'E_STEMCELL_REQUEST';
}

/** A program or file that the builder needs is missing on this machine. */
export class StemcellToolMissing extends OperationalError {
  readonly code = 'E_STEMCELL_TOOL_MISSING';
}

/** The content does not fit into the image. */
export class StemcellImageTooSmall extends OperationalError {
  readonly code = 'E_STEMCELL_IMAGE_TOO_SMALL';
}

/** The release for a micro stemcell lacks what was asked for. */
export class MicroReleaseInvalid extends OperationalError {
  readonly code = 'E_STEMCELL_MICRO_RELEASE';
}
