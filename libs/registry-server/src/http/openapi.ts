import { ExpireBody, LeaseBody, MintTokenBody } from './schemas.ts';

type Who = 'anybody' | 'read-only' | 'read-write' | 'agent';

export interface Operation {
  readonly method: 'get' | 'put' | 'post' | 'delete';
  readonly path: string;
  readonly summary: string;
  readonly who: Who;
  readonly body?: object;
  /** Status → what it means; the answers that every route can give are added. */
  readonly answers: Readonly<Record<number, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
}

const CONDITIONS = {
  'If-Match': 'Act only when this is the current ETag.',
  'If-None-Match': '`*`: only create.',
  'Microbosh-Lease': 'Nonce of the exclusive lease under which the caller acts.',
};

/** Every route of the registry; a test compares this list with what the server has registered. */
export const OPERATIONS: readonly Operation[] = [
  {
    method: 'get',
    path: '/instances/{id}/settings',
    summary: 'Read the settings of an instance.',
    who: 'agent',
    headers: { 'If-None-Match': 'Answer 304 when this is the current ETag.' },
    answers: {
      200: '`settings` is the document as a string.',
      304: 'Unchanged.',
      404: 'Nothing is stored yet.',
    },
  },
  {
    method: 'put',
    path: '/instances/{id}/settings',
    summary: 'Store the settings of an instance; any content type, kept byte for byte.',
    who: 'read-write',
    body: { type: 'object', description: 'The settings document.' },
    headers: CONDITIONS,
    answers: { 200: 'Stored, for good.', 412: 'The condition does not hold.', 423: 'Leased exclusively.' },
  },
  {
    method: 'delete',
    path: '/instances/{id}/settings',
    summary: 'Remove the settings with their tokens and lease.',
    who: 'read-write',
    headers: CONDITIONS,
    answers: {
      200: 'Gone, or never there.',
      412: 'The condition does not hold.',
      423: 'Leased exclusively.',
    },
  },
  {
    method: 'post',
    path: '/instances/{id}/settings/confirm',
    summary: 'An agent has its copy on disk: count one read of its token.',
    who: 'agent',
    headers: { 'If-Match': 'ETag of the copy.' },
    answers: { 200: 'Counted.', 412: 'The settings have changed since: read again.' },
  },
  {
    method: 'post',
    path: '/instances/{id}/tokens',
    summary: 'Mint a read token, or register one that the caller made.',
    who: 'read-write',
    body: MintTokenBody,
    answers: { 200: 'The token, this one time.', 409: 'The hash belongs to another instance.' },
  },
  {
    method: 'get',
    path: '/instances/{id}/tokens',
    summary: 'List the tokens of an instance, without the tokens.',
    who: 'read-only',
    answers: { 200: 'Ids and limits.' },
  },
  {
    method: 'delete',
    path: '/instances/{id}/tokens/{tokenId}',
    summary: 'Withdraw a token.',
    who: 'read-write',
    answers: { 200: 'Withdrawn.', 404: 'There is none.' },
  },
  {
    method: 'put',
    path: '/instances/{id}/lease',
    summary: 'Take or prolong the lease of an instance.',
    who: 'read-write',
    body: LeaseBody,
    answers: { 200: 'Taken; the nonce proves it.', 409: 'Another has it.' },
  },
  {
    method: 'get',
    path: '/instances/{id}/lease',
    summary: 'Who has the lease.',
    who: 'read-only',
    answers: { 200: 'Owner and times.', 404: 'Nobody.' },
  },
  {
    method: 'delete',
    path: '/instances/{id}/lease',
    summary: 'Release a lease.',
    who: 'read-write',
    headers: { 'Microbosh-Lease': 'Its nonce.' },
    answers: { 200: 'Released.', 404: 'Nobody has it.', 409: 'Another has it.' },
  },
  {
    method: 'get',
    path: '/instances',
    summary: 'List instances, without any value of their settings.',
    who: 'read-only',
    query: {
      after: 'Only ids after this one.',
      limit: 'At most so many, 1 to 1000.',
      untouched_seconds: 'Only those neither written nor read for so long.',
    },
    answers: { 200: 'One page; `next` when there may be more.' },
  },
  {
    method: 'post',
    path: '/instances/expire',
    summary: 'Remove instances neither written nor read for long.',
    who: 'read-write',
    body: ExpireBody,
    answers: { 200: 'The ids.' },
  },
  {
    method: 'get',
    path: '/healthz',
    summary: 'The process runs.',
    who: 'anybody',
    answers: { 200: 'It does.' },
  },
  {
    method: 'get',
    path: '/readyz',
    summary: 'The registry can serve.',
    who: 'anybody',
    answers: { 200: 'It can.', 503: 'The store is away, or the registry stops.' },
  },
  {
    method: 'get',
    path: '/metrics',
    summary: 'Prometheus text.',
    who: 'read-only',
    answers: { 200: 'Metrics.' },
  },
  {
    method: 'get',
    path: '/status',
    summary: 'The instances as a page.',
    who: 'read-only',
    answers: { 200: 'HTML.' },
  },
  {
    method: 'get',
    path: '/openapi.json',
    summary: 'This document.',
    who: 'anybody',
    answers: { 200: 'OpenAPI 3.1.' },
  },
  {
    method: 'get',
    path: '/docs',
    summary: 'This document as a page.',
    who: 'anybody',
    answers: { 200: 'HTML.' },
  },
];

const FAILURE = {
  type: 'object',
  required: ['status'],
  properties: {
    status: { enum: ['error', 'access_denied', 'not_found'] },
    code: { type: 'string' },
    message: { type: 'string' },
    request_id: { type: 'string' },
  },
};

export const WHO: Readonly<Record<Who, string>> = {
  anybody: 'anybody',
  agent: 'the instance itself (token, certificate, address) or an administrator',
  'read-only': 'any administrator',
  'read-write': 'an administrator who may write',
};

/** The operations as OpenAPI 3.1. */
export function openApiDocument(version: string): object {
  const paths: Record<string, Record<string, object>> = {};
  for (const operation of OPERATIONS) {
    paths[operation.path] = { ...paths[operation.path], [operation.method]: describe(operation) };
  }
  return {
    openapi: '3.1.0',
    info: { title: 'microbosh-registry', version },
    paths,
    components: {
      securitySchemes: {
        basic: {
          type: 'http',
          scheme: 'basic',
          description: 'Administrator, or any name with a read token as password.',
        },
        bearer: { type: 'http', scheme: 'bearer', description: 'Read token.' },
        certificate: { type: 'mutualTLS' },
      },
      schemas: { Failure: FAILURE },
    },
  };
}

function describe(operation: Operation): object {
  const parameter =
    (place: string, required: boolean) =>
    ([name, description]: [string, string]) => ({
      name,
      in: place,
      required,
      description,
      schema: { type: 'string' },
    });
  const inPath = [...operation.path.matchAll(/\{(\w+)\}/g)].map((match): [string, string] => [
    match[1] ?? '',
    match[1] === 'id' ? 'Key of the instance.' : 'Id of the token.',
  ]);
  const failure = { content: { 'application/json': { schema: { $ref: '#/components/schemas/Failure' } } } };
  const denied = {
    401: { description: 'Access denied.', ...failure },
    429: { description: 'Too many failures.', ...failure },
  };
  const answers: readonly (readonly [string, object])[] = Object.entries(operation.answers).map(
    ([status, description]) => [status, { description, ...(Number(status) >= 400 ? failure : {}) }],
  );
  return {
    summary: operation.summary,
    description: `For ${WHO[operation.who]}.`,
    security:
      operation.who === 'anybody'
        ? []
        : [{ basic: [] }, ...(operation.who === 'agent' ? [{ bearer: [] }] : []), { certificate: [] }],
    parameters: [
      ...inPath.map(parameter('path', true)),
      ...Object.entries(operation.query ?? {}).map(parameter('query', false)),
      ...Object.entries(operation.headers ?? {}).map(parameter('header', false)),
    ],
    ...(operation.body
      ? { requestBody: { content: { 'application/json': { schema: operation.body } } } }
      : {}),
    responses: { ...Object.fromEntries<object>(answers), ...(operation.who === 'anybody' ? {} : denied) },
  };
}
