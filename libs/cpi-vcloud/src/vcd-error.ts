import { CloudError } from '@microbosh/cpi';
import type { XmlNode } from '@microbosh/cpi/xml';

/** An answer of vCloud Director that says no. */
export class VcdError extends CloudError {
  readonly status: number;
  /** `BUSY_ENTITY`, `DUPLICATE_NAME`, …; undefined when the answer was no document of vCloud Director. */
  readonly reason: string | undefined;

  constructor(request: string, status: number, error: XmlNode | undefined) {
    const reason = error?.name === 'Error' ? (error.attribute('minorErrorCode') ?? '') : undefined;
    const message = error?.attribute('message') ?? 'no vCloud document';
    super(`vCloud ${request}: status ${status}: ${reason === undefined ? '' : `${reason}: `}${message}`, {
      okToRetry: status === 429 || status >= 500 || reason === 'BUSY_ENTITY',
      details: { request, status, ...(reason === undefined ? {} : { reason }) },
      ...(status === 401 ? { advice: "Check 'user', 'password' and 'entities.organization'." } : {}),
    });
    this.status = status;
    this.reason = reason;
  }
}

/** The request left, and no answer came: it may have been carried out. */
export class VcdSilent extends CloudError {
  constructor(request: string, why: string) {
    super(`vCloud ${request}: no answer: ${why}`, { okToRetry: true, details: { request } });
  }
}

/** vCloud Director answers 403 for objects that are not there. An answer of something in front of it is not believed. */
export function isAbsent(error: unknown): error is VcdError {
  return (
    error instanceof VcdError && error.reason !== undefined && (error.status === 403 || error.status === 404)
  );
}

export function isDuplicate(error: unknown): error is VcdError {
  return error instanceof VcdError && error.status === 400 && error.reason === 'DUPLICATE_NAME';
}
