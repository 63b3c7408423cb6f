import { TLSSocket } from 'node:tls';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Logger } from 'pino';
import { parseAuthorization } from '../access/authorization-header.ts';
import type { Caller, ClientCertificate, Denial, Gatekeeper, Identity } from '../access/gatekeeper.ts';
import { clientAddress } from '../access/client-address.ts';
import type { TrustedProxies } from '../access/client-address.ts';
import type { Registry } from '../registry.ts';
import { deny } from './answers.ts';
import type { HttpLimits } from './limits.ts';
import type { Metrics } from './metrics.ts';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set once the caller is known; for the access log. */
    identity: Identity | undefined;
    denied: Denial['denied'] | undefined;
  }
}

/** The parts that can change while the server runs. */
export interface Access {
  gatekeeper: Gatekeeper;
  proxies: TrustedProxies;
}

/** What was asked, and how it was answered; never what is in it. */
export interface AnsweredRequest {
  readonly method: string;
  /** `/instances/:id/settings` */
  readonly route: string;
  readonly instanceId: string | undefined;
  readonly status: number;
  /** Where it came from. */
  readonly peer: string | undefined;
  /** How it was let in; undefined: it was not. */
  readonly identity: Identity['kind'] | undefined;
}

/** What the routes work with. */
export interface RouteContext {
  readonly registry: Registry;
  readonly access: Access;
  readonly metrics: Metrics;
  readonly limits: HttpLimits;
  readonly audit: Logger;
  /** Told of every request, once it is answered. */
  readonly onAnswer?: (answer: AnsweredRequest) => void;
  /** Refuse settings that are not a JSON object. */
  readonly requireJson: boolean;
  isDraining(): boolean;
}

export type InstanceParams = { Params: { id: string } };

export function callerOf(request: FastifyRequest, access: Access): Caller {
  const certificate = certificateOf(request);
  return {
    presented: parseAuthorization(request.headers.authorization),
    client: clientAddress(request.socket.remoteAddress ?? '', request.headers, access.proxies),
    ...(certificate ? { certificate } : {}),
  };
}

/** Counts and audits a refusal, then answers it. */
export function refuse(
  context: RouteContext,
  request: FastifyRequest,
  reply: FastifyReply,
  denial: Denial,
  details: { readonly caller: Caller; readonly instanceId?: string },
): FastifyReply {
  request.denied = denial.denied;
  context.metrics.countDenied(denial.denied);
  const { presented, client } = details.caller;
  context.audit.warn(
    {
      event: 'denied',
      reason: denial.denied,
      cause: denial.cause,
      requestId: request.id,
      method: request.method,
      route: request.routeOptions.url,
      instanceId: details.instanceId,
      address: client.address,
      presented: presented.kind,
    },
    'request denied',
  );
  return deny(request, reply, denial);
}

function certificateOf(request: FastifyRequest): ClientCertificate | undefined {
  const { socket } = request;
  // Without a verified certificate `authorized` is false, whatever the client has sent.
  if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
  const name = socket.getPeerCertificate().subject.CN;
  return typeof name === 'string' ? { commonName: name } : undefined;
}
