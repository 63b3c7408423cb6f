import { isInstanceId } from '../http/clean-path.ts';
import { problemOfDocument } from '../http/routes/settings.ts';
import type { Registry } from '../registry.ts';

const BATCH = 16;

export interface ImportReport {
  readonly imported: number;
  /** Left as they are: this registry has newer settings of the instance already. */
  readonly kept: readonly string[];
  /** Rows that no agent could use: what is wrong with them, never what is in them. */
  readonly refused: readonly { readonly instanceId: string; readonly reason: string }[];
}

/** Takes rows of the original in. Rows that are there already are kept, so that the import can be repeated at any time. */
export async function importOriginal(
  registry: Registry,
  rows: AsyncIterable<{ readonly instanceId: string; readonly settings: Uint8Array }>,
): Promise<ImportReport> {
  const kept: string[] = [];
  const refused: { instanceId: string; reason: string }[] = [];
  let imported = 0;
  let batch: Promise<void>[] = [];
  const take = async (instanceId: string, settings: Uint8Array) => {
    const outcome = await registry.write(instanceId, settings, { by: 'import', ifNoneMatch: '*' });
    if (outcome.kind === 'written') imported += 1;
    else kept.push(instanceId);
  };
  for await (const { instanceId, settings } of rows) {
    const reason = isInstanceId(instanceId) ? problemOfDocument(settings, false) : 'The id cannot be used.';
    if (reason !== undefined) refused.push({ instanceId, reason });
    else batch.push(take(instanceId, settings));
    if (batch.length >= BATCH) {
      await Promise.all(batch);
      batch = [];
    }
  }
  await Promise.all(batch);
  return { imported, kept, refused };
}
