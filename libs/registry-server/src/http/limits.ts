/** What one request, one connection and one listener may take. */
export interface HttpLimits {
  /** Settings document and every other body. Default 1 MiB. */
  readonly bodyBytes: number;
  /** All headers together. Default 16 KiB. */
  readonly headerBytes: number;
  /** For a TLS handshake. Default 60 s: in a boot storm the queue is the server's own. */
  readonly handshakeTimeoutMs: number;
  /** From the first byte to the last of the headers. Default 30 s. */
  readonly headersTimeoutMs: number;
  /** From the first byte to the last of the request. Default 60 s. */
  readonly requestTimeoutMs: number;
  /** Between requests of one connection. Default 30 s. */
  readonly idleTimeoutMs: number;
  /** At a time, for each listener. Default 10 000. */
  readonly connections: number;
}

export const DEFAULT_LIMITS: HttpLimits = {
  bodyBytes: 1 << 20,
  headerBytes: 16 << 10,
  handshakeTimeoutMs: 60_000,
  headersTimeoutMs: 30_000,
  requestTimeoutMs: 60_000,
  idleTimeoutMs: 30_000,
  connections: 10_000,
};
