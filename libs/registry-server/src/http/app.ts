import { randomBytes } from 'node:crypto';
import { fastify } from 'fastify';
import type { FastifyInstance } from 'fastify';
import type { Logger } from 'pino';
import { answerError, notFound } from './answers.ts';
import { cleanPath } from './clean-path.ts';
import type { RouteContext } from './context.ts';
import { addInstanceRoutes } from './routes/instances.ts';
import { addLeaseRoutes } from './routes/leases.ts';
import { addOperationRoutes } from './routes/operations.ts';
import { addSettingsRoutes } from './routes/settings.ts';
import { addTokenRoutes } from './routes/tokens.ts';

const SAFE_REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/;

/** The HTTP application without a listener: routes, hooks, error answers, access log. */
export async function buildApp(
  context: RouteContext,
  logger: Logger,
): Promise<{ readonly app: FastifyInstance; readonly routes: readonly string[] }> {
  // Unique without asking the kernel for randomness at each request; the boot part tells processes apart.
  const boot = randomBytes(6).toString('base64url');
  let served = 0;
  const app = fastify({
    bodyLimit: context.limits.bodyBytes,
    rewriteUrl: (request) => cleanPath(request.url ?? '/'),
    // No route declares a schema; without these two lines the compilers of Fastify would cost a third of the start.
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    routerOptions: { maxParamLength: 4 * 255 },
    genReqId: (request) => {
      const given = request.headers['x-request-id'];
      return typeof given === 'string' && SAFE_REQUEST_ID.test(given)
        ? given
        : `${boot}-${(served += 1).toString(36)}`;
    },
    // Malformed percent escapes and the like never reach a route.
    frameworkErrors: (error, request, reply) => {
      answerError(error, request, reply);
    },
  });
  const routes: string[] = [];
  app.addHook('onRoute', ({ method, url }) => {
    for (const one of [method].flat()) routes.push(`${one} ${url}`);
  });
  // Bodies are bytes: the original's clients send settings under any content type.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body));
  app.decorateRequest('identity', undefined);
  app.decorateRequest('denied', undefined);

  app.addHook('onRequest', (request, reply, done) => {
    reply.headers({
      'x-request-id': request.id,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    });
    done();
  });
  app.addHook('onResponse', (request, reply, done) => {
    done();
    const route = request.routeOptions.url ?? 'none';
    context.metrics.countAnswer(route, request.method, reply.statusCode, reply.elapsedTime / 1000);
    if (context.onAnswer === undefined && !logger.isLevelEnabled('info')) return;
    const { params } = request;
    const answer = {
      method: request.method,
      route,
      instanceId:
        typeof params === 'object' && params !== null && 'id' in params ? String(params.id) : undefined,
      status: reply.statusCode,
      peer: request.socket.remoteAddress,
    };
    context.onAnswer?.({ ...answer, identity: request.identity?.kind });
    logger.info(
      {
        requestId: request.id,
        ...answer,
        durationMs: Math.round(reply.elapsedTime * 100) / 100,
        identity: request.identity && `${request.identity.kind}:${request.identity.name}`,
        denied: request.denied,
      },
      'request',
    );
  });
  app.setNotFoundHandler(notFound);
  app.setErrorHandler((error, request, reply) => {
    if (reply.statusCode >= 500 || !isClientFault(error)) {
      logger.error({ requestId: request.id, err: describeError(error) }, 'request failed');
    }
    return answerError(error, request, reply);
  });

  addSettingsRoutes(app, context);
  addTokenRoutes(app, context);
  addLeaseRoutes(app, context);
  addInstanceRoutes(app, context);
  addOperationRoutes(app, context);
  await app.ready();
  return { app, routes };
}

function noSchemas(): never {
  throw new Error('routes of the registry check what they are given themselves');
}

function isClientFault(error: unknown): boolean {
  return (
    typeof error === 'object' &&
    error !== null &&
    'statusCode' in error &&
    typeof error.statusCode === 'number' &&
    error.statusCode < 500
  );
}

/** Code, name and message of an error and its causes; no stack of ours, no value of a request. */
function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) };
  return {
    type: error.name,
    message: error.message,
    ...('code' in error ? { code: error.code } : {}),
    ...(error.cause === undefined ? {} : { cause: describeError(error.cause) }),
    stack: error.stack?.split('\n').slice(1, 6),
  };
}
