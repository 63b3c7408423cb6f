import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { isJsonObject, isOperationalError, messageOf, type JsonObject } from '@microbosh/errors';
import type { CpiConfig, CpiFactory } from './contract.ts';
import { GenericCpiError, InvalidCall, StemcellNotFound, wireErrorOf, type WireError } from './errors.ts';
import { dispatch } from './methods.ts';
import { configurationOf, decodeContext, decodeRequest, encodeResponse, type CpiResponse } from './wire.ts';

/**
 * `main` of a CPI executable (`bin/cpi CONFIG`): one request on standard input, one response on standard output, exit
 * status 0 whenever a response was printed, free text on standard error. Anything that code prints to standard output
 * in between goes to standard error. SIGTERM and SIGINT cancel the call.
 */
export async function runCpiExecutable(factory: CpiFactory): Promise<void> {
  const print = process.stdout.write.bind(process.stdout);
  process.stdout.write = process.stderr.write.bind(process.stderr);
  const cancel = new AbortController();
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    process.on(name, () => cancel.abort(new GenericCpiError(`The call was cancelled by ${name}`)));
  }
  const response = await answerCall(
    factory,
    await readAll(process.stdin),
    () => readConfig(process.argv[2]),
    cancel.signal,
  );
  await new Promise<void>((resolve) => print(`${encodeResponse(response)}\n`, () => resolve()));
  // Kept connections and timers of a finished call do not delay the caller.
  process.exit(0);
}

/** One call from text to response; never throws. */
export async function answerCall(
  factory: CpiFactory,
  requestText: string,
  loadConfig: () => Promise<CpiConfig>,
  signal: AbortSignal,
): Promise<CpiResponse> {
  try {
    const request = decodeRequest(requestText);
    const config = overlayConfig(await loadConfig(), configurationOf(request.context));
    const cpi = factory(config);
    try {
      const context = decodeContext(request.context, signal);
      const result = await dispatch(cpi, context, request.method, request.arguments, request.apiVersion);
      return { result, error: null, log: '' };
    } finally {
      await cpi.dispose?.();
    }
  } catch (error) {
    return { result: null, error: directorError(error), log: logOf(error) };
  }
}

/** Callers know a closed list of types; what is not on it would arrive as an unknown error. */
function directorError(error: unknown): WireError {
  const wire = wireErrorOf(error);
  if (error instanceof InvalidCall) return { ...wire, type: 'Bosh::Clouds::CpiError' };
  if (error instanceof StemcellNotFound) return { ...wire, type: 'Bosh::Clouds::CloudError' };
  return wire;
}

/** A defect of the program is told with its place; an expected failure speaks for itself. */
function logOf(error: unknown): string {
  return error instanceof Error && !isOperationalError(error) ? (error.stack ?? '') : '';
}

async function readConfig(path: string | undefined): Promise<CpiConfig> {
  if (path === undefined) {
    throw new GenericCpiError('The path of the configuration file is missing', {
      advice: 'Start the CPI with the path of its cpi.json as the only argument.',
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(await readFile(path, 'utf8'));
  } catch (error) {
    throw new GenericCpiError(`The configuration ${path} cannot be read: ${messageOf(error)}`, {
      cause: error,
    });
  }
  return parseCpiConfig(value);
}

/** Checks the shape that all CPIs share; throws GenericCpiError. */
export function parseCpiConfig(value: unknown): CpiConfig {
  const cloud = isJsonObject(value) ? value['cloud'] : undefined;
  const properties = isJsonObject(cloud) ? cloud['properties'] : undefined;
  if (!isJsonObject(cloud) || !isJsonObject(properties))
    throw new GenericCpiError('Could not find cloud properties in the configuration');
  const plugin = cloud['plugin'];
  if (typeof plugin !== 'string') throw new GenericCpiError("'cloud.plugin' of the configuration is missing");
  const { agent, registry, ...own } = properties;
  if (agent !== undefined && !isJsonObject(agent))
    throw new GenericCpiError("'cloud.properties.agent' must be a map");
  return {
    cloud: {
      plugin,
      properties: {
        ...own,
        ...(agent !== undefined && { agent }),
        ...(registry !== undefined && registry !== null && { registry: parseRegistry(registry) }),
      },
    },
  };
}

function parseRegistry(value: unknown): NonNullable<CpiConfig['cloud']['properties']['registry']> {
  if (!isJsonObject(value)) throw new GenericCpiError("'cloud.properties.registry' must be a map");
  const { endpoint, user, password, ca } = value;
  if (typeof endpoint !== 'string' || typeof user !== 'string' || typeof password !== 'string')
    throw new GenericCpiError("'cloud.properties.registry' needs endpoint, user and password");
  return { endpoint: withoutUserInfo(endpoint), user, password, ...(typeof ca === 'string' && { ca }) };
}

/** Configurations of the Ruby CPIs carry the credentials in the URL too. */
function withoutUserInfo(endpoint: string): string {
  if (!URL.canParse(endpoint)) throw new GenericCpiError("'cloud.properties.registry.endpoint' is not a URL");
  const url = new URL(endpoint);
  url.username = '';
  url.password = '';
  return url.toString().replace(/\/$/, '');
}

/** The Director's CPI configuration travels in the context and goes over the plug-in's properties. */
function overlayConfig(config: CpiConfig, overlay: JsonObject): CpiConfig {
  if (Object.keys(overlay).length === 0) return config;
  const { plugin, properties } = config.cloud;
  const own = properties[plugin];
  const merged = { ...(isJsonObject(own) ? own : {}), ...overlay };
  return { cloud: { plugin, properties: { ...properties, [plugin]: merged } } };
}
