import { messageOf } from '@microbosh/errors';
import { describe, expect, it } from 'vitest';
import { selectPath } from '../evaluate-manifest.ts';
import { goldenRows, textField } from '../../test/support/golden.ts';
import { emitYaml } from '../yaml/emit-yaml.ts';
import { parseYaml } from '../yaml/parse-yaml.ts';
import { applyOpsFile, parseOpsFile } from './ops-file.ts';

/** What this program adds around the original's text. */
const ours =
  /^(?:ops:\d+:\d+: (?:Building ops: |Error 'operation \[\d+\] in ops failed': )|Invalid path '[^\n]*?': )/;

describe('ops files beside the original', () => {
  it('gives the result, or the error text, of go-patch for every row of the golden file', () => {
    const rows = goldenRows('ops.golden.json');

    expect(rows.length).toBeGreaterThan(1200);
    for (const row of rows) expect(outcomeOf(row), JSON.stringify(row)).toEqual(wantedOf(row));
  });
});

function wantedOf(row: Record<string, unknown>): unknown {
  const error = textField(row, 'error');
  return error === undefined ? { emitted: textField(row, 'emitted') } : { error };
}

function outcomeOf(row: Record<string, unknown>): unknown {
  const ops = textField(row, 'ops');
  try {
    const doc = parseYaml(textField(row, 'doc') ?? '', { file: 'doc' });
    const result =
      ops === undefined
        ? selectPath(doc, textField(row, 'path') ?? '')
        : applyOpsFile(doc, parseOpsFile(ops, 'ops'));
    return { emitted: emitYaml(result) };
  } catch (error) {
    // applyOpsFile closes the quote that it opened before the original's text.
    return { error: messageOf(error).replace(ours, '') };
  }
}
