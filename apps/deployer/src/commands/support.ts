import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { freemem, hostname, release, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import type { AgentClient } from '@microbosh/agent-client';
import { packTarGz } from '@microbosh/artifacts';
import { errorCode, isJsonObject, messageChain } from '@microbosh/errors';
import type { Json } from '@microbosh/errors';
import { processFolder } from '@microbosh/host';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';
import { exitCodes } from '../cli/exit-codes.ts';
import { composeDeployer } from '../compose-deployer.ts';
import { readBootstrap } from '../engine/bootstrap-progress.ts';
import { knownCloud } from '../engine/delete-env.ts';
import { settingsOf } from '../engine/deploy.ts';
import { readInputFlags } from '../inputs/manifest-inputs.ts';
import { secretsOfVarsStore } from '../inputs/vars-store-file.ts';
import { environmentPaths } from '../state/environment-paths.ts';
import { StateStore } from '../state/state-store.ts';
import { version } from '../version.ts';
import { clientOf } from './recorded-environment.ts';

/** Members of the bundle; a text that could not be had says why instead. */
type Member = { readonly path: string; readonly content: Buffer };

/**
 * Everything that explains a failed deploy, in one archive, without secrets. Each part is optional: it is made above all
 * for a VM whose agent never answered.
 */
export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const [manifest = ''] = args;
  const paths = environmentPaths(manifest, textOption(options, 'state'), context.cwd);
  const store = await StateStore.open(paths);
  registerSecrets(store.current as unknown as Json, context);
  const inputs = readInputFlags(options, context.cwd);
  const varsStore = inputs.varsStore ?? store.current.own.inputs?.varsStore;
  for (const secret of await secretsInBundle(varsStore, context)) context.secrets.add(secret);

  const members: Member[] = [];
  const add = (path: string, text: string) =>
    members.push({ path, content: Buffer.from(context.secrets.redact(text)) });
  const attempt = async (path: string, read: () => Promise<string | undefined>) => {
    try {
      add(path, (await read()) ?? 'nothing\n');
    } catch (error) {
      context.signal.throwIfAborted();
      add(path, `could not be had: ${messageChain(error).join(': ')}\n`);
    }
  };
  await context.events.stage('collecting', async (stage) => {
    add('machine.json', machine());
    await stage.step('Reading state and history', async () => {
      await attempt('state.json', async () =>
        JSON.stringify(withoutSecrets(store.current as unknown as Json), null, 2),
      );
      await attempt('previous-state.json', async () =>
        JSON.stringify(
          withoutSecrets(JSON.parse(await readFile(paths.previousState, 'utf8')) as Json),
          null,
          2,
        ),
      );
      await attempt('journal.jsonl', async () => redactLines(await readFile(paths.journal, 'utf8')));
      await attempt('events.jsonl', async () => readFile(paths.events, 'utf8'));
      await attempt('cpi.log', async () => readFile(paths.cpiLog, 'utf8'));
      await attempt('registry.log', async () => readFile(paths.registryLog, 'utf8'));
    });
    const vmCid = store.current.current_vm_cid;
    if (vmCid !== '') {
      let consoleLog: string | undefined;
      await stage.step(`Reading the console of VM '${vmCid}'`, () =>
        attempt('console.log', async () => {
          consoleLog = await readConsole(manifest, inputs, store, context);
          return consoleLog;
        }),
      );
      add('bootstrap.txt', lastBootstrapStep(consoleLog));
      await stage.step('Fetching logs of the agent', () =>
        attempt('agent.txt', () => fetchAgentLogs(store, members, context)),
      );
    }
  });
  const stamp = new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '');
  const target = resolve(context.cwd, textOption(options, 'out') ?? `microbosh-support-${stamp}.tgz`);
  await packTarGz(members, target);
  context.console.block(`${target}\n`);
  return exitCodes.done;
}

const secretKey = /passw|secret|private|token|api_?key|access_key|mbus|^user_data$|credential|ca_key/i;

/** What the store holds is cut out of the bundle; one that is not there or is broken holds nothing that was deployed. */
async function secretsInBundle(
  varsStore: string | undefined,
  context: CommandContext,
): Promise<readonly string[]> {
  try {
    return await secretsOfVarsStore(varsStore, context.env);
  } catch (error) {
    // Without its key nobody knows what has to be cut out.
    if (errorCode(error) === 'E_VARS_KEY') throw error;
    return [];
  }
}

/** Every value under such a key is cut out of all texts of the bundle. */
function registerSecrets(value: Json, context: CommandContext, isSecret = false): void {
  if (typeof value === 'string') {
    if (!isSecret || value.length < 4) return;
    context.secrets.add(value);
    // A URL is written in parts, too.
    if (URL.canParse(value)) context.secrets.add(decodeURIComponent(new URL(value).password));
  } else if (Array.isArray(value)) {
    for (const item of value as readonly Json[]) registerSecrets(item, context, isSecret);
  } else if (isJsonObject(value)) {
    for (const [key, inner] of Object.entries(value)) {
      registerSecrets(inner, context, isSecret || secretKey.test(key));
    }
  }
}

function withoutSecrets(value: Json): Json {
  if (Array.isArray(value)) return (value as readonly Json[]).map(withoutSecrets);
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      secretKey.test(key) && inner !== null && inner !== '' ? '<redacted>' : withoutSecrets(inner),
    ]),
  );
}

function redactLines(text: string): string {
  const lines = text.split('\n').filter((line) => line !== '');
  return lines
    .map((line) => {
      try {
        return `${JSON.stringify(withoutSecrets(JSON.parse(line) as Json))}\n`;
      } catch {
        return `(a line of ${line.length} characters that is not complete)\n`;
      }
    })
    .join('');
}

function machine(): string {
  return JSON.stringify(
    {
      microbosh: version,
      node: process.versions.node,
      platform: `${process.platform} ${process.arch} ${release()}`,
      host: hostname(),
      memory_mib: { total: Math.round(totalmem() / 2 ** 20), free: Math.round(freemem() / 2 ** 20) },
      at: new Date().toISOString(),
    },
    null,
    2,
  );
}

async function readConsole(
  manifest: string,
  inputs: ReturnType<typeof readInputFlags>,
  store: StateStore,
  context: CommandContext,
): Promise<string | undefined> {
  const { cloud: described } = await knownCloud({ context, manifest, inputs }, store.current);
  const access = { agent: settingsOf(described, ''), registry: undefined };
  const cloud = await composeDeployer(context).openCloud(described, access, store, context);
  try {
    return await cloud.consoleLog?.(
      {
        directorUuid: store.current.director_id,
        requestId: `cpi-${randomUUID().slice(0, 8)}`,
        stemcellApiVersion: 1,
        signal: context.signal,
      },
      store.current.current_vm_cid,
    );
  } finally {
    await cloud.dispose?.();
  }
}

/** The agent logs to the console which step of its bootstrap it does. */
function lastBootstrapStep(consoleLog: string | undefined): string {
  const { steps, text } = readBootstrap(consoleLog ?? '');
  if (steps.length === 0 && text === undefined) return 'the console shows no step of the bootstrap\n';
  const now = text === undefined ? '' : `now: ${text}\n`;
  return `last: ${steps.at(-1) ?? 'none has ended'}\n${now}\n${steps.join('\n')}\n`;
}

/** Adds what the agent sends; the text says how it went. */
async function fetchAgentLogs(
  store: StateStore,
  members: Member[],
  context: CommandContext,
): Promise<string> {
  const { endpoint } = store.current.own;
  if (endpoint === undefined) return 'its address is not on record\n';
  const client = clientOf(endpoint, store.current.director_id, context.env, { connectTimeoutMs: 5_000 });
  const folder = await processFolder('support');
  try {
    const signal = AbortSignal.any([context.signal, AbortSignal.timeout(60_000)]);
    await client.ping({ signal: AbortSignal.any([signal, AbortSignal.timeout(5_000)]) });
    const report = ['the agent answers'];
    for (const types of ['agent', 'job']) {
      try {
        const count = await fetchLogsOf(types, client, members, folder.path, context.secrets, signal);
        report.push(`${count} logs of type ${types} are in vm/${types}/`);
      } catch (error) {
        context.signal.throwIfAborted();
        report.push(`logs of type ${types} could not be had: ${messageChain(error).join(': ')}`);
      }
    }
    return `${report.join('\n')}\n`;
  } finally {
    await client.close();
    await folder.remove();
  }
}

async function fetchLogsOf(
  types: string,
  client: AgentClient,
  members: Member[],
  folder: string,
  secrets: CommandContext['secrets'],
  signal: AbortSignal,
): Promise<number> {
  const path = join(folder, `${types}.tgz`);
  const { blobstoreId, sha1 } = await client.fetchLogs(types, [], { signal });
  await client.getBlob(blobstoreId, path, { signal, ...(sha1 === undefined ? {} : { digest: sha1 }) });
  const files = await textsOf(path);
  for (const file of files) {
    members.push({ path: `vm/${types}/${file.path}`, content: Buffer.from(secrets.redact(file.content)) });
  }
  return files.length;
}

async function textsOf(path: string): Promise<{ readonly path: string; readonly content: string }[]> {
  const { archiveFile, readArchive } = await import('@microbosh/artifacts');
  const { text } = await import('node:stream/consumers');
  const found: { path: string; content: string }[] = [];
  for await (const entry of readArchive(archiveFile(path), {})) {
    // A rotated log cannot be redacted without unpacking it, so it stays on the VM.
    if (entry.kind === 'file' && !/\.(gz|xz|zst)$/.test(entry.path)) {
      found.push({ path: entry.path, content: await text(entry.content) });
    }
  }
  return found;
}
