import { createReadStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { CloudError } from '@microbosh/cpi';
import { cloudDispatcher, limitedText, untrustedCertificate } from '@microbosh/cpi/http';
import { parseXml, XmlNode } from '@microbosh/cpi/xml';
import { messageOf } from '@microbosh/errors';
import { request } from 'undici';
import type { Dispatcher } from 'undici';
import { element, object, orderedFields, ref, refOf } from './data-objects.ts';
import type { Fields, Ref } from './data-objects.ts';
import { faultOfCall, faultOfTask, isFault, VimFault, VimSilent } from './vim-fault.ts';
import type { VsphereConfig } from './vsphere-config.ts';

type Signal = AbortSignal | undefined;

/** Managers by their name in the service content. */
export interface ServiceContent {
  readonly rootFolder: Ref;
  at(name: string): Ref;
}

/** An object with the properties that were asked for, by path. */
export interface Found {
  readonly ref: Ref;
  readonly properties: Readonly<Record<string, XmlNode | undefined>>;
}

const serviceInstance = ref('ServiceInstance', 'ServiceInstance');
const maxAnswerBytes = 64 << 20;

/** Reads: repeated whatever happens on the way. */
const reads = /^(Retrieve|Continue|Find|CurrentTime|CreateContainerView|DestroyView)/;

export interface VimClientOptions {
  /** First pause between attempts and looks; it doubles up to ten times this. Default 1000. */
  readonly pauseMs?: number;
}

/**
 * The calls of the vim25 API that the CPI needs: one session, opened when it is first needed and once more when the server
 * has forgotten it. Reads are repeated on failures of the connection, other calls only on faults that have changed nothing.
 */
export class VimClient {
  readonly #config: VsphereConfig;
  readonly #dispatcher: Dispatcher;
  readonly pauseMs: number;
  #cookie: string | undefined;
  #session: Promise<ServiceContent> | undefined;
  /** Methods called, and bodies sent; for tests. */
  readonly calls: string[] = [];
  onRequest: ((method: string, body: string) => void) | undefined;

  constructor(config: VsphereConfig, options: VimClientOptions = {}) {
    this.#config = config;
    this.pauseMs = options.pauseMs ?? 1000;
    this.#dispatcher = cloudDispatcher(config.connection, {
      connectTimeoutMs: 60_000,
      readTimeoutSeconds: 600,
    });
  }

  /** Ends the session; the server would keep it for half an hour. */
  async close(): Promise<void> {
    const session = await this.#session?.catch(() => undefined);
    if (session !== undefined) {
      await this.#send(session.at('sessionManager'), 'Logout', {}, undefined).catch(() => undefined);
    }
    await this.#dispatcher.close();
  }

  service(signal: Signal): Promise<ServiceContent> {
    this.#session ??= this.#login(signal).catch((error: unknown) => {
      this.#session = undefined;
      throw error;
    });
    return this.#session;
  }

  async #login(signal: Signal): Promise<ServiceContent> {
    const answer = await this.#repeated('RetrieveServiceContent', signal, () =>
      this.#send(serviceInstance, 'RetrieveServiceContent', {}, signal),
    );
    const content = answer[0];
    const at = (name: string): Ref => {
      const found = refOf(content?.at(name));
      if (found === undefined) throw new CloudError(`This vSphere has no ${name}`);
      return found;
    };
    const { user: userName, password } = this.#config;
    await this.#repeated('Login', signal, () =>
      this.#send(at('sessionManager'), 'Login', { userName, password, locale: 'en' }, signal),
    );
    return { rootFolder: at('rootFolder'), at };
  }

  /** Calls a method and answers its `returnval` elements. */
  async call(target: Ref, method: string, parameters: Fields, signal: Signal): Promise<readonly XmlNode[]> {
    await this.service(signal);
    return this.#repeated(method, signal, async () => {
      try {
        return await this.#send(target, method, parameters, signal);
      } catch (error) {
        if (!isFault(error, 'NotAuthenticated')) throw error;
        this.#session = undefined;
        await this.service(signal);
        return this.#send(target, method, parameters, signal);
      }
    });
  }

  async #repeated<T>(method: string, signal: Signal, action: () => Promise<T>): Promise<T> {
    let pause = this.pauseMs;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await action();
      } catch (error) {
        signal?.throwIfAborted();
        const again =
          error instanceof VimFault ? error.okToRetry : error instanceof VimSilent && reads.test(method);
        if (!again || attempt >= 5) throw error;
      }
      await this.pause(pause, signal);
      pause *= 2;
    }
  }

  async pause(milliseconds: number, signal: Signal): Promise<void> {
    await sleep(milliseconds, undefined, signal ? { signal } : {});
  }

  async #send(target: Ref, method: string, parameters: Fields, signal: Signal): Promise<readonly XmlNode[]> {
    const body = `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><${method} xmlns="urn:vim25">${element('_this', target)}${orderedFields(method, parameters)}</${method}></soapenv:Body></soapenv:Envelope>`;
    this.calls.push(method);
    this.onRequest?.(method, body);
    const { status, text } = await this.#post(method, body, signal);
    let root: XmlNode;
    try {
      root = parseXml(text);
    } catch (error) {
      throw new VimSilent(method, `status ${status}, and no XML: ${messageOf(error)}`);
    }
    const answer = root.at('Body')?.children[0];
    if (answer?.name === 'Fault') throw faultOfCall(method, answer);
    if (answer === undefined) throw new VimSilent(method, `status ${status}, and no body`);
    return answer.all('returnval');
  }

  async #post(method: string, body: string, signal: Signal): Promise<{ status: number; text: string }> {
    try {
      const answer = await request(`https://${this.#config.host}/sdk`, {
        method: 'POST',
        headers: {
          'content-type': 'text/xml; charset=UTF-8',
          soapaction: '"urn:vim25/6.5"',
          ...(this.#cookie === undefined ? {} : { cookie: this.#cookie }),
        },
        body,
        dispatcher: this.#dispatcher,
        ...(signal && { signal }),
      });
      this.#remember(answer.headers['set-cookie']);
      const text = await limitedText(answer.body, maxAnswerBytes, `vSphere ${method}`);
      return { status: answer.statusCode, text };
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof CloudError) throw error;
      throw this.#connectionError(method, error);
    }
  }

  #connectionError(method: string, error: unknown): CloudError {
    return (
      untrustedCertificate(`vCenter ${this.#config.host}`, error) ?? new VimSilent(method, messageOf(error))
    );
  }

  #remember(cookies: string | string[] | undefined): void {
    const session = [cookies ?? []].flat().find((cookie) => cookie.startsWith('vmware_soap_session='));
    if (session !== undefined) this.#cookie = session.split(';')[0];
  }

  /** Properties of objects of one class; objects that have gone are left out. */
  async properties(
    refs: readonly Ref[],
    paths: readonly string[],
    signal: Signal,
  ): Promise<readonly Found[]> {
    const [first] = refs;
    if (first === undefined) return [];
    const types = [...new Set(refs.map(({ ref: type }) => type))];
    return this.#retrieve(
      {
        propSet: types.map((type) => object('PropertySpec', { type, pathSet: paths })),
        objectSet: refs.map((obj) => object('ObjectSpec', { obj })),
      },
      signal,
    );
  }

  /** One object; undefined when it has gone. */
  async find(target: Ref, paths: readonly string[], signal: Signal): Promise<Found | undefined> {
    try {
      return (await this.properties([target], paths, signal))[0];
    } catch (error) {
      if (isFault(error, 'ManagedObjectNotFound')) return undefined;
      throw error;
    }
  }

  /** All objects of a class below a container. */
  async below(
    container: Ref,
    type: string,
    paths: readonly string[],
    signal: Signal,
  ): Promise<readonly Found[]> {
    const service = await this.service(signal);
    const parameters = { container, type: [type], recursive: true };
    const [answer] = await this.call(service.at('viewManager'), 'CreateContainerView', parameters, signal);
    const view = refOf(answer);
    if (view === undefined) throw new CloudError('vSphere answered without a view');
    try {
      const selectSet = object('TraversalSpec', { type: 'ContainerView', path: 'view', skip: false });
      return await this.#retrieve(
        {
          propSet: [object('PropertySpec', { type, pathSet: paths })],
          objectSet: [object('ObjectSpec', { obj: view, skip: true, selectSet })],
        },
        signal,
      );
    } finally {
      await this.call(view, 'DestroyView', {}, undefined).catch(() => undefined);
    }
  }

  async #retrieve(spec: Fields, signal: Signal): Promise<Found[]> {
    const collector = (await this.service(signal)).at('propertyCollector');
    const parameters = {
      specSet: object('PropertyFilterSpec', spec),
      options: object('RetrieveOptions', {}),
    };
    let [page] = await this.call(collector, 'RetrievePropertiesEx', parameters, signal);
    const found: Found[] = [];
    while (page !== undefined) {
      for (const item of page.all('objects')) {
        const obj = refOf(item.at('obj'));
        if (obj === undefined) continue;
        const pairs = item.all('propSet').map((pair) => [pair.textAt('name') ?? '', pair.at('val')] as const);
        found.push({ ref: obj, properties: Object.fromEntries(pairs) });
      }
      const token = page.textAt('token');
      if (token === undefined || token === '') break;
      [page] = await this.call(collector, 'ContinueRetrievePropertiesEx', { token }, signal);
    }
    return found;
  }

  /** Starts a task, waits for its end, and answers its result. */
  async task(target: Ref, method: string, parameters: Fields, signal: Signal): Promise<XmlNode | undefined> {
    let pause = this.pauseMs;
    for (let attempt = 1; ; attempt += 1) {
      const [answer] = await this.call(target, method, parameters, signal);
      try {
        return await this.waitForTask(refOf(answer), method, signal);
      } catch (error) {
        if (!(error instanceof VimFault) || !error.okToRetry || attempt >= 5) throw error;
      }
      await this.pause(pause, signal);
      pause *= 2;
    }
  }

  async waitForTask(task: Ref | undefined, method: string, signal: Signal): Promise<XmlNode | undefined> {
    if (task === undefined) throw new CloudError(`vSphere ${method}: answered without a task`);
    const paths = ['info.state', 'info.result', 'info.error'];
    let pause = Math.min(100, this.pauseMs);
    for (;;) {
      const found = await this.find(task, paths, signal);
      if (found === undefined) throw new VimSilent(method, 'the task has gone');
      const { 'info.state': state, 'info.result': result, 'info.error': error } = found.properties;
      if (state?.text === 'success') return result;
      if (state?.text === 'error') throw faultOfTask(method, error ?? new XmlNode('error', {}, [], ''));
      await this.pause(pause, signal);
      pause = Math.min(pause * 2, this.pauseMs * 10);
    }
  }

  /** Sends a file to a URL of a lease; `*` stands for the host that the client is connected to. */
  async upload(
    url: string,
    file: { readonly path: string; readonly sizeBytes: number },
    onSent: (bytes: number) => void,
    signal: Signal,
  ): Promise<void> {
    const source = createReadStream(file.path, { highWaterMark: 1 << 20 });
    source.on('data', (chunk) => onSent(chunk.length));
    const headers = {
      'content-type': 'application/x-vnd.vmware-streamVmdk',
      'content-length': String(file.sizeBytes),
    };
    const target = url.replace(/^(https?:\/\/)\*(:\d+)?\//, `https://${this.#config.host}/`);
    await this.#transfer('POST', target, headers, source, signal);
  }

  /** Writes a file into a datastore. */
  async putFile(datastore: string, path: string, content: Buffer, signal: Signal): Promise<void> {
    await this.service(signal);
    const query = new URLSearchParams({ dcPath: this.#config.datacenter, dsName: datastore });
    const escaped = path.split('/').map(encodeURIComponent).join('/');
    await this.#transfer(
      'PUT',
      `https://${this.#config.host}/folder/${escaped}?${query.toString()}`,
      { 'content-type': 'application/octet-stream', 'content-length': String(content.length) },
      content,
      signal,
    );
  }

  async #transfer(
    method: 'POST' | 'PUT',
    url: string,
    headers: Readonly<Record<string, string>>,
    body: Buffer | Readable,
    signal: Signal,
  ): Promise<void> {
    const place = new URL(url).pathname;
    try {
      const answer = await request(url, {
        method,
        headers: { ...headers, ...(this.#cookie === undefined ? {} : { cookie: this.#cookie }) },
        body,
        dispatcher: this.#dispatcher,
        ...(signal && { signal }),
      });
      await answer.body.dump();
      if (answer.statusCode < 300) return;
      throw new CloudError(`vSphere ${method} ${place}: status ${answer.statusCode}`, {
        okToRetry: answer.statusCode >= 500,
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof CloudError) throw error;
      throw this.#connectionError(`${method} ${place}`, error);
    }
  }
}
