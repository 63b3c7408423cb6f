import { createHash } from 'node:crypto';
import { messageOf } from '@microbosh/errors';
import { evaluationDigest, startRenderer } from '@microbosh/ruby-templates';
import type { RenderRequest, TemplateRenderer } from '@microbosh/ruby-templates';
import { version } from '../version.ts';
import { RenderedCache } from './rendered-cache.ts';

export interface TemplatesOptions {
  /** Where rendered templates are kept for the next run. */
  readonly cacheDir: string;
  /** The interpreter boots from now on; otherwise when something is not in the cache. */
  readonly bootNow: boolean;
  readonly onWarning: (text: string) => void;
  /** Default: that of `@microbosh/ruby-templates`. */
  readonly start?: () => Promise<TemplateRenderer>;
}

/**
 * Renders templates, or takes what the same ones rendered to before. A failure to boot the interpreter is reported to
 * whoever needs it first.
 */
export class Templates implements Pick<TemplateRenderer, 'render'> {
  readonly #options: TemplatesOptions;
  readonly #cache: RenderedCache;
  #renderer: Promise<TemplateRenderer> | undefined;

  constructor(options: TemplatesOptions) {
    this.#options = options;
    this.#cache = new RenderedCache(options.cacheDir);
    if (options.bootNow) void this.#boot();
  }

  async render(
    requests: readonly RenderRequest[],
    options: { readonly signal?: AbortSignal } = {},
  ): Promise<Buffer[]> {
    const inputs = await digestOfInputs(requests);
    const known = await this.#cache.find(inputs);
    if (known?.length === requests.length) return known;
    const contents = await (await this.#boot()).render(requests, options);
    await this.#cache
      .keep(inputs, contents)
      // The next run renders again: slower, not wrong.
      .catch((error: unknown) =>
        this.#options.onWarning(`Rendered templates could not be kept for later: ${messageOf(error)}`),
      );
    return contents;
  }

  async close(): Promise<void> {
    const renderer = await this.#renderer?.catch(() => undefined);
    await renderer?.close();
  }

  #boot(): Promise<TemplateRenderer> {
    if (this.#renderer === undefined) {
      this.#renderer = (this.#options.start ?? startRenderer)();
      this.#renderer.catch(() => undefined);
    }
    return this.#renderer;
  }
}

/** Everything that decides about the contents, the evaluation itself included. */
async function digestOfInputs(requests: readonly RenderRequest[]): Promise<Buffer> {
  const hash = createHash('sha256').update(JSON.stringify([version, await evaluationDigest()]));
  for (const { context, template, path } of requests) {
    hash.update(JSON.stringify([path, template, context.document]));
  }
  return hash.digest();
}
