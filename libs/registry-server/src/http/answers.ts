import type { FastifyReply, FastifyRequest } from 'fastify';
import { isOperationalError } from '@microbosh/errors';
import type { Denial } from '../access/gatekeeper.ts';
import type { LeaseRow } from '../ports/store.ts';

export const REALM = 'Basic realm="Bosh Registry"';

/** The envelope of the original, `status`, with what ours adds; clients of the original ignore the rest. */
export interface Failure {
  readonly status: 'error' | 'access_denied' | 'not_found';
  readonly code: string;
  readonly message: string;
  readonly request_id: string;
}

export function fail(
  request: FastifyRequest,
  reply: FastifyReply,
  statusCode: number,
  failure: {
    readonly code: string;
    readonly message: string;
    readonly status?: Failure['status'];
  } & Readonly<Record<string, unknown>>,
): FastifyReply {
  return reply.code(statusCode).send({ status: 'error', ...failure, request_id: request.id });
}

export function notFound(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return fail(request, reply, 404, {
    status: 'not_found',
    code: 'E_REGISTRY_NOT_FOUND',
    message: 'There is nothing under this path.',
  });
}

/** The answer to a refused request: the same text for all reasons, so that it teaches nothing. */
export function deny(request: FastifyRequest, reply: FastifyReply, denial: Denial): FastifyReply {
  if (denial.retryAfterMs !== undefined) {
    reply.header('retry-after', String(Math.ceil(denial.retryAfterMs / 1000)));
  }
  if (denial.denied === 'too-many-failures') {
    return fail(request, reply, 429, {
      status: 'access_denied',
      code: 'E_REGISTRY_TOO_MANY_FAILURES',
      message: 'Too many failed logins from this address; wait.',
    });
  }
  if (denial.denied === 'busy' || denial.denied === 'address-lookup-failed') {
    return fail(request, reply, 503, {
      code: 'E_REGISTRY_BUSY',
      message: 'The caller cannot be checked now; try again.',
    });
  }
  if (denial.denied === 'read-only') {
    return fail(request, reply, 403, {
      status: 'access_denied',
      code: 'E_REGISTRY_READ_ONLY',
      message: 'These credentials may only read.',
    });
  }
  return fail(request, reply.header('www-authenticate', REALM), 401, {
    status: 'access_denied',
    code: 'E_REGISTRY_ACCESS_DENIED',
    message: 'Access denied.',
  });
}

export function leased(
  request: FastifyRequest,
  reply: FastifyReply,
  code: 409 | 423,
  lease: LeaseRow,
): FastifyReply {
  return fail(request, reply, code, {
    code: 'E_REGISTRY_LEASED',
    message: `The instance is leased to '${lease.owner}'.`,
    owner: lease.owner,
    expires_at: new Date(lease.expiresAtMs).toISOString(),
  });
}

export function conditionFailed(
  request: FastifyRequest,
  reply: FastifyReply,
  currentEtag?: string,
): FastifyReply {
  if (currentEtag !== undefined) reply.header('etag', quoteEtag(currentEtag));
  return fail(request, reply, 412, {
    code: 'E_REGISTRY_CONDITION_FAILED',
    message: 'The settings are not the ones that the request names.',
  });
}

const STATUS_OF_CODE: Readonly<Record<string, number>> = {
  E_REGISTRY_STORE_UNAVAILABLE: 503,
  E_REGISTRY_STORE_FULL: 507,
  FST_ERR_CTP_BODY_TOO_LARGE: 413,
  FST_ERR_BAD_URL: 400,
};

/** Failures on the way: expected ones with their code, everything else as a defect without details. */
export function answerError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const code = errorCodeOf(error);
  const statusCode = STATUS_OF_CODE[code];
  if (statusCode === undefined && !isOperationalError(error)) {
    const clientFault = clientFaultOf(error);
    return fail(request, reply, clientFault ?? 500, {
      code: clientFault === undefined ? 'E_REGISTRY_INTERNAL' : 'E_REGISTRY_BAD_REQUEST',
      message: clientFault === undefined ? 'The registry failed.' : 'The request is malformed.',
    });
  }
  if (statusCode === 503) reply.header('retry-after', '1');
  if (statusCode === 413) {
    return fail(request, reply.header('connection', 'close'), 413, {
      code: 'E_REGISTRY_TOO_LARGE',
      message: 'The body is larger than this registry takes.',
    });
  }
  return fail(request, reply, statusCode ?? 500, {
    code: isOperationalError(error) ? error.code : 'E_REGISTRY_BAD_REQUEST',
    message: isOperationalError(error) ? error.message : 'The request is malformed.',
  });
}

export function quoteEtag(etag: string): string {
  return `"${etag}"`;
}

/** `*`, or the tags of an If-Match or If-None-Match header; a weak prefix is dropped. */
export function parseEtags(header: string | undefined): readonly string[] | '*' | undefined {
  if (header === undefined) return undefined;
  if (header.trim() === '*') return '*';
  return header.split(',').map((tag) => tag.trim().replace(/^W\//, '').replace(/^"|"$/g, ''));
}

function errorCodeOf(error: unknown): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

function clientFaultOf(error: unknown): number | undefined {
  if (typeof error !== 'object' || error === null || !('statusCode' in error)) return undefined;
  const { statusCode } = error;
  return typeof statusCode === 'number' && statusCode >= 400 && statusCode < 500 ? statusCode : undefined;
}
