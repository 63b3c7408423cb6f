import type { FastifyInstance } from 'fastify';
import { isOperationalError, messageOf } from '@microbosh/errors';
import { requireAdmin } from '../admission.ts';
import { fail } from '../answers.ts';
import type { RouteContext } from '../context.ts';
import { openApiDocument } from '../openapi.ts';
import { docsPage } from '../pages/docs-page.ts';
import { statusPage } from '../pages/status-page.ts';

const API_VERSION = '1';
const HTML = 'text/html; charset=utf-8';
const STATUS_PAGE = 200;

/** For the supervisor, the balancer, and Prometheus. */
export function addOperationRoutes(app: FastifyInstance, context: RouteContext): void {
  const { registry, metrics } = context;

  app.get('/healthz', async () => ({ status: 'ok' }));

  app.get('/readyz', async (request, reply) => {
    if (context.isDraining()) {
      return fail(request, reply, 503, { code: 'E_REGISTRY_DRAINING', message: 'The registry is stopping.' });
    }
    try {
      await registry.store.ping();
    } catch (error) {
      return fail(request, reply, 503, {
        code: isOperationalError(error) ? error.code : 'E_REGISTRY_INTERNAL',
        message: isOperationalError(error) ? messageOf(error) : 'The store does not answer.',
      });
    }
    return { status: 'ok' };
  });

  app.get('/metrics', { onRequest: requireAdmin(context, 'read-only') }, async (_request, reply) => {
    const { contentType, text } = await metrics.render();
    return reply.header('content-type', contentType).send(text);
  });

  app.get('/openapi.json', async () => openApiDocument(API_VERSION));

  app.get('/docs', async (_request, reply) => reply.header('content-type', HTML).send(docsPage()));

  app.get<{ Querystring: { after?: string } }>(
    '/status',
    { onRequest: requireAdmin(context, 'read-only') },
    async (request, reply) => {
      await registry.flushActivity();
      const nowMs = registry.clock();
      const { after } = request.query;
      const instances = await registry.store.list({
        limit: STATUS_PAGE,
        nowMs,
        ...(after === undefined ? {} : { after: String(after) }),
      });
      const next = instances.length === STATUS_PAGE ? instances.at(-1)?.instanceId : undefined;
      return reply.header('content-type', HTML).send(
        statusPage({
          instances,
          nowMs,
          storeKind: registry.store.kind,
          activeKeyId: registry.keyring.activeKeyId,
          ...(next === undefined ? {} : { next }),
        }),
      );
    },
  );
}
