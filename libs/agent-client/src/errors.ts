import { errorCode, messageOf, OperationalError, type ErrorCode, type JsonObject } from '@microbosh/errors';

/** Why the agent could not be asked. Each kind has its own code, so that the operator knows where to look. */
export type UnreachableKind =
  | 'no-route'
  | 'refused'
  | 'timeout'
  | 'name'
  | 'disconnected'
  | 'certificate'
  | 'tls'
  | 'credentials'
  | 'http-status'
  | 'not-an-agent';

interface KindTraits {
  readonly code: ErrorCode;
  readonly sentence: string;
  readonly advice: string;
  readonly retryable: boolean;
}

const kinds: Readonly<Record<UnreachableKind, KindTraits>> = {
  'no-route': {
    code: 'E_AGENT_NO_ROUTE',
    sentence: 'There is no route to the agent',
    advice: 'Check that the VM is up, its address, and the network and firewall between this machine and it.',
    retryable: true,
  },
  refused: {
    code: 'E_AGENT_REFUSED',
    sentence: 'The machine answers, but nothing listens on the port of the agent',
    advice:
      'The agent has not finished its bootstrap, or failed in it; its log is /var/vcap/bosh/log on the VM.',
    retryable: true,
  },
  timeout: {
    code: 'E_AGENT_TIMEOUT',
    sentence: 'The agent does not answer in time',
    advice: 'Check that the VM is up and that no firewall drops the packets.',
    retryable: true,
  },
  name: {
    code: 'E_AGENT_NAME',
    sentence: 'The host name of the agent cannot be resolved',
    advice: 'Correct the host in mbus, or the name service of this machine.',
    retryable: true,
  },
  disconnected: {
    code: 'E_AGENT_DISCONNECTED',
    sentence: 'The agent closed the connection without an answer',
    advice: 'It probably restarts; if it stays so, its log is /var/vcap/bosh/log on the VM.',
    retryable: true,
  },
  certificate: {
    code: 'E_AGENT_CERTIFICATE',
    sentence: 'The certificate of the agent is not the expected one',
    advice:
      'Another machine may answer at this address, or the certificate of the deployment changed: compare cloud_provider.cert.ca with env.bosh.mbus.cert.',
    retryable: false,
  },
  tls: {
    code: 'E_AGENT_TLS',
    sentence: 'The peer does not speak TLS with us',
    advice: 'Check scheme and port of mbus; the agent speaks TLS 1.2 and 1.3.',
    retryable: false,
  },
  credentials: {
    code: 'E_AGENT_CREDENTIALS',
    sentence: 'The agent refuses the user or the password',
    advice: 'The VM was created with other credentials: compare mbus of the manifest with the one of the VM.',
    retryable: false,
  },
  'http-status': {
    code: 'E_AGENT_HTTP_STATUS',
    sentence: 'The agent answers with an unexpected HTTP status',
    advice: 'Look at the log of the agent, /var/vcap/bosh/log on the VM.',
    retryable: true,
  },
  'not-an-agent': {
    code: 'E_AGENT_ANSWER',
    sentence: 'What answers at this address does not speak the protocol of an agent',
    advice: 'Check address and port of mbus, and proxies between this machine and the VM.',
    retryable: false,
  },
};

/** The agent could not be asked, or its answer could not be understood; `kind` tells why. */
export class AgentUnreachable extends OperationalError {
  readonly code: ErrorCode;
  readonly kind: UnreachableKind;
  override readonly retryable: boolean;
  /** False when it is certain that the request was never executed. */
  readonly maybeExecuted: boolean;

  constructor(
    kind: UnreachableKind,
    options: {
      readonly reason: string;
      readonly maybeExecuted: boolean;
      readonly details?: JsonObject;
      readonly cause?: unknown;
    },
  ) {
    const traits = kinds[kind];
    super(`${traits.sentence}: ${options.reason}`, {
      advice: traits.advice,
      details: { kind, ...options.details },
      cause: options.cause,
    });
    this.code = traits.code;
    this.kind = kind;
    this.retryable = traits.retryable;
    this.maybeExecuted = options.maybeExecuted;
  }
}

/** The agent executed the request and answered with an exception. */
export class AgentResponded extends OperationalError {
  readonly code: ErrorCode = 'E_AGENT_EXCEPTION';
  override readonly retryable: boolean;
  /** The agent's own sentence, unchanged. */
  readonly agentMessage: string;
  /** The agent's error code, when it is one of ours. */
  readonly agentCode: string | undefined;

  constructor(method: string, agentMessage: string, agentCode?: string, retryable = false, advice?: string) {
    super(`Agent responded with error: ${agentMessage}`, {
      details: { method, ...(agentCode === undefined ? {} : { agentCode }) },
      ...(advice === undefined ? {} : { advice }),
    });
    this.agentMessage = agentMessage;
    this.agentCode = agentCode;
    this.retryable = retryable;
  }
}

/** The agent is of a kind that does not know the method. */
export class MethodUnknown extends AgentResponded {
  override readonly code: ErrorCode = 'E_AGENT_METHOD';
}

/** The agent does not know the task (any more): it was restarted. */
export class TaskLost extends AgentResponded {
  override readonly code: ErrorCode = 'E_AGENT_TASK_LOST';
}

/** Makes the right error of an exception answer; clients of the originals match the same texts. */
export function exceptionError(
  method: string,
  exception: {
    readonly message: string;
    readonly code?: string;
    readonly retryable?: boolean;
    readonly advice?: string;
  },
): AgentResponded {
  const { message } = exception;
  const arguments_ = [
    method,
    message,
    exception.code,
    exception.retryable ?? false,
    exception.advice,
  ] as const;
  if (message.includes('unknown message')) return new MethodUnknown(...arguments_);
  if (method === 'get_task' && /could not be found|unknown agent_task_id/.test(message)) {
    return new TaskLost(...arguments_);
  }
  return new AgentResponded(...arguments_);
}

const byCode: Readonly<Record<string, { readonly kind: UnreachableKind; readonly sent: boolean }>> = {
  EHOSTUNREACH: { kind: 'no-route', sent: false },
  ENETUNREACH: { kind: 'no-route', sent: false },
  EHOSTDOWN: { kind: 'no-route', sent: false },
  ENETDOWN: { kind: 'no-route', sent: false },
  EADDRNOTAVAIL: { kind: 'no-route', sent: false },
  EACCES: { kind: 'no-route', sent: false },
  EPERM: { kind: 'no-route', sent: false },
  ECONNREFUSED: { kind: 'refused', sent: false },
  ENOTFOUND: { kind: 'name', sent: false },
  EAI_AGAIN: { kind: 'name', sent: false },
  ETIMEDOUT: { kind: 'timeout', sent: false },
  UND_ERR_CONNECT_TIMEOUT: { kind: 'timeout', sent: false },
  UND_ERR_HEADERS_TIMEOUT: { kind: 'timeout', sent: true },
  UND_ERR_BODY_TIMEOUT: { kind: 'timeout', sent: true },
  ECONNRESET: { kind: 'disconnected', sent: true },
  EPIPE: { kind: 'disconnected', sent: true },
  ECONNABORTED: { kind: 'disconnected', sent: true },
  UND_ERR_SOCKET: { kind: 'disconnected', sent: true },
  UND_ERR_DESTROYED: { kind: 'disconnected', sent: true },
  UND_ERR_CLOSED: { kind: 'disconnected', sent: true },
  HPE_INVALID_CONSTANT: { kind: 'not-an-agent', sent: true },
  HPE_INVALID_VERSION: { kind: 'not-an-agent', sent: true },
};

const certificateCodes =
  /^(ERR_TLS_CERT_ALTNAME_INVALID|CERT_|DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|INVALID_CA|PATH_LENGTH_EXCEEDED|HOSTNAME_MISMATCH)/;

/** Classifies what the HTTP client threw. Undefined: not a failure of the transport. */
export function transportError(error: unknown, details: JsonObject): AgentUnreachable | undefined {
  const chain = causesOf(error);
  for (const cause of chain) {
    const code = errorCode(cause);
    if (code === undefined) continue;
    const known = byCode[code];
    const kind = known?.kind ?? tlsKind(code);
    if (!kind) continue;
    return new AgentUnreachable(kind, {
      reason: messageOf(cause),
      maybeExecuted: known?.sent ?? false,
      details: { ...details, reason: code },
      cause: error,
    });
  }
  return undefined;
}

function tlsKind(code: string): UnreachableKind | undefined {
  if (certificateCodes.test(code)) return 'certificate';
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_') || code === 'EPROTO') return 'tls';
  return undefined;
}

function causesOf(error: unknown): unknown[] {
  const chain: unknown[] = [];
  const queue: unknown[] = [error];
  while (queue.length > 0 && chain.length < 20) {
    const current = queue.shift();
    if (current === undefined || current === null) continue;
    chain.push(current);
    if (current instanceof AggregateError) queue.push(...(current.errors as unknown[]));
    if (current instanceof Error) queue.push(current.cause);
  }
  return chain;
}
