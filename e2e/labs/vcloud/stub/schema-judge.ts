import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '@microbosh/errors';
import { NodeCommandRunner } from '@microbosh/host';

const runner = new NodeCommandRunner();
const schema = join(import.meta.dirname, '../schema/all.xsd');
const batch = 200;

/** Collects documents and has them validated by xmllint; those that differ only in ids and times are one. */
export class SchemaJudge {
  readonly #known = new Set<string>();
  #waiting: { readonly what: string; readonly text: string }[] = [];
  /** Documents that were taken, and those that were different. */
  taken = 0;

  get different(): number {
    return this.#known.size;
  }

  take(what: string, text: string): void {
    this.taken += 1;
    const shape = text
      .replaceAll(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, 'ID')
      .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME')
      .replaceAll(/\/\/127\.0\.0\.1:\d+/g, '//HOST');
    if (this.#known.has(shape)) return;
    this.#known.add(shape);
    this.#waiting.push({ what, text });
  }

  /** Throws what xmllint says against any document since the last time. */
  async check(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    const work = await mkdtemp(join(tmpdir(), 'microbosh-lab-xml-'));
    try {
      for (let first = 0; first < waiting.length; first += batch) {
        await this.#checkBatch(work, waiting.slice(first, first + batch));
      }
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  async #checkBatch(work: string, documents: readonly { what: string; text: string }[]): Promise<void> {
    const paths = documents.map((_, index) => join(work, `${index}.xml`));
    for (const [index, { text }] of documents.entries()) await writeFile(paths[index] ?? '', text);
    try {
      await runner.run(['xmllint', '--nonet', '--noout', '--schema', schema, ...paths], {
        timeoutMs: 60_000,
      });
    } catch (error) {
      const said = messageOf(error).replaceAll(
        new RegExp(`${work}/(\\d+)\\.xml`, 'g'),
        (_, index: string) => documents[Number(index)]?.what ?? '',
      );
      throw new Error(`not valid by the schema: ${said.slice(0, 2000)}`);
    }
  }
}
