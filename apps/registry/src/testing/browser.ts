import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const CHROMIUM = '/usr/bin/chromium';

/** Why no page can be looked at here; undefined when it can. */
export function browserMissing(): string | undefined {
  return existsSync(CHROMIUM) ? undefined : 'there is no Chromium (apt-get install chromium)';
}

export interface VisitedPage {
  /** The document as the browser has it. */
  readonly html: string;
  /** Text of the accessibility tree: what a reader perceives. */
  readonly text: string;
  /** What the browser wrote to its console: refused styles, failed loads. */
  readonly complaints: readonly string[];
}

type Reply = {
  id?: number;
  method?: string;
  params?: unknown;
  result?: Record<string, unknown>;
  error?: { message: string };
};

/** Loads a page in headless Chromium with JavaScript switched off, through its debugging protocol. */
export async function visitWithoutScripts(
  url: string,
  headers: Readonly<Record<string, string>>,
): Promise<VisitedPage> {
  const profile = mkdtempSync(join(tmpdir(), 'microbosh-chromium-'));
  const child = spawn(
    CHROMIUM,
    [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--remote-debugging-port=0',
      `--user-data-dir=${profile}`,
      'about:blank',
    ],
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  const ended = new Promise((resolve) => child.once('exit', resolve));
  try {
    const endpoint = await new Promise<string>((resolve, reject) => {
      let output = '';
      child.stderr.on('data', (chunk: Buffer) => {
        output += chunk.toString();
        const found = /DevTools listening on (ws:\S+)/.exec(output)?.[1];
        if (found !== undefined) resolve(found);
      });
      child.once('exit', () => reject(new Error(`Chromium ended: ${output}`)));
    });
    return await look(endpoint, url, headers);
  } finally {
    child.kill('SIGKILL');
    await ended;
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

async function look(
  endpoint: string,
  url: string,
  headers: Readonly<Record<string, string>>,
): Promise<VisitedPage> {
  const socket = new WebSocket(endpoint);
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve, { once: true });
    socket.addEventListener('error', () => reject(new Error('Chromium does not take the connection')), {
      once: true,
    });
  });
  const waiting = new Map<number, (reply: Reply) => void>();
  const complaints: string[] = [];
  let loaded = (): void => undefined;
  const load = new Promise<void>((resolve) => (loaded = resolve));
  socket.addEventListener('message', (event) => {
    const reply = JSON.parse(String(event.data)) as Reply;
    if (reply.id !== undefined) waiting.get(reply.id)?.(reply);
    if (reply.method === 'Page.loadEventFired') loaded();
    if (reply.method === 'Log.entryAdded') complaints.push(JSON.stringify(reply.params));
  });
  let serial = 0;
  const send = async (
    method: string,
    params: object,
    sessionId?: string,
  ): Promise<Record<string, unknown>> => {
    const id = (serial += 1);
    const reply = await new Promise<Reply>((resolve) => {
      waiting.set(id, resolve);
      socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }));
    });
    if (reply.error) throw new Error(`${method}: ${reply.error.message}`);
    return reply.result ?? {};
  };
  const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
  const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
  const page = (method: string, params: object = {}) => send(method, params, String(sessionId));
  await page('Page.enable');
  await page('Log.enable');
  await page('Network.enable');
  await page('Emulation.setScriptExecutionDisabled', { value: true });
  await page('Network.setExtraHTTPHeaders', { headers });
  await page('Page.navigate', { url });
  await load;
  const { root } = await page('DOM.getDocument');
  const { outerHTML } = await page('DOM.getOuterHTML', { nodeId: (root as { nodeId: number }).nodeId });
  const { nodes } = await page('Accessibility.getFullAXTree');
  const text = (nodes as { role?: { value: string }; name?: { value: string } }[])
    .filter((node) => node.role?.value === 'StaticText')
    .map((node) => node.name?.value ?? '')
    .join('\n');
  socket.close();
  return { html: String(outerHTML), text, complaints };
}
