import { describe, expect, it } from 'vitest';
import { transportError } from './errors.ts';

function failure(code: string): Error {
  return new TypeError('fetch failed', { cause: Object.assign(new Error(code), { code }) });
}

describe('transportError', () => {
  it.each([
    ['EHOSTUNREACH', 'no-route', true],
    ['ENETUNREACH', 'no-route', true],
    ['ECONNREFUSED', 'refused', true],
    ['UND_ERR_CONNECT_TIMEOUT', 'timeout', true],
    ['UND_ERR_HEADERS_TIMEOUT', 'timeout', true],
    ['ENOTFOUND', 'name', true],
    ['ECONNRESET', 'disconnected', true],
    ['ERR_TLS_CERT_ALTNAME_INVALID', 'certificate', false],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'certificate', false],
    ['CERT_HAS_EXPIRED', 'certificate', false],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'tls', false],
  ])('classifies %s as %s', (code, kind, retryable) => {
    expect(transportError(failure(code), {})).toMatchObject({ kind, retryable });
  });

  it('knows which requests can not have been executed', () => {
    expect(transportError(failure('ECONNREFUSED'), {})?.maybeExecuted).toBe(false);
    expect(transportError(failure('ECONNRESET'), {})?.maybeExecuted).toBe(true);
  });

  it('looks into every address that was tried', () => {
    const both = new AggregateError([failure('EHOSTUNREACH'), failure('ECONNREFUSED')]);

    expect(transportError(both, {})?.kind).toBe('no-route');
  });

  it('leaves what is no failure of the transport alone', () => {
    expect(transportError(new Error('a defect'), {})).toBeUndefined();
  });
});
