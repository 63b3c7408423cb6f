import type { Socket } from 'node:net';
import { messageOf } from '@microbosh/errors';
import { buildConnector } from 'undici';
import { bare, defaultTimeoutMs } from './proxy-route.ts';
import type { ProxyRoute } from './proxy-route.ts';

/** Makes what an HTTP client of undici calls to connect to an origin, from its options for TLS. */
export type MakeConnector = (options: buildConnector.BuildOptions) => buildConnector.connector;

/** Over a route; undefined without one. */
export function connectorOver(route: ProxyRoute | undefined): MakeConnector | undefined {
  if (route === undefined) return undefined;
  return (options) => {
    const upgrade = buildConnector(options);
    return (origin, callback) => {
      const isTls = origin.protocol === 'https:';
      const port = Number(origin.port || (isTls ? 443 : 80));
      route.dial(bare(origin.hostname), port, options.timeout ?? defaultTimeoutMs).then(
        (stream) => {
          // A channel of SSH has all of it that is used.
          const socket = stream as Socket;
          if (isTls) upgrade({ ...origin, httpSocket: socket }, callback);
          else callback(null, socket);
        },
        (error: unknown) => callback(error instanceof Error ? error : new Error(messageOf(error)), null),
      );
    };
  };
}
