import type { TemplateRenderer } from '@microbosh/ruby-templates';

/** The interpreter of the templates, booting from now on; a failure to boot is reported to whoever needs it first. */
export class TemplateBoot {
  readonly #renderer: Promise<TemplateRenderer>;

  constructor() {
    this.#renderer = import('@microbosh/ruby-templates').then(({ startRenderer }) => startRenderer());
    this.#renderer.catch(() => undefined);
  }

  renderer(): Promise<TemplateRenderer> {
    return this.#renderer;
  }

  async close(): Promise<void> {
    const renderer = await this.#renderer.catch(() => undefined);
    await renderer?.close();
  }
}
