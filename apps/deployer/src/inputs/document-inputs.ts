import { mkdir, readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { OperationalError, errorCode, messageOf } from '@microbosh/errors';
import { splitAssignment } from '@microbosh/spec/documents';
import type { EvaluateManifestInput, VarsStorePort } from '@microbosh/spec/documents';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { listOption, textOption } from '../cli/context.ts';

/** A document, or a file that its flags name, cannot be read. */
export class DocumentUnreadable extends OperationalError {
  readonly code = 'E_DOCUMENT_UNREADABLE';
}

/** Reads a document and everything that the variable and ops flags name, once; `-` is standard input. */
export async function readDocumentInputs(
  document: string,
  options: CommandOptions,
  context: Pick<CommandContext, 'cwd' | 'env' | 'readStdin'>,
): Promise<EvaluateManifestInput> {
  const read = (file: string, what: string) => readText(resolve(context.cwd, file), `${what} '${file}'`);
  const varsStore = textOption(options, 'varsStore');
  return {
    text: document === '-' ? await context.readStdin() : await read(document, 'file'),
    file: document === '-' ? '<stdin>' : document,
    ops: await Promise.all(
      listOption(options, 'opsFile').map(async (file) => ({ file, text: await read(file, 'ops file') })),
    ),
    variables: {
      prefixes: listOption(options, 'varsEnv'),
      environment: context.env,
      files: await Promise.all(
        listOption(options, 'varsFile').map(async (file) => ({
          file,
          text: await read(file, 'variables file'),
        })),
      ),
      contents: await Promise.all(
        listOption(options, 'varFile').map(async (flag) => {
          const { name, value: file } = splitAssignment(flag, 'path');
          return { name, file, text: await read(file, 'variable from file') };
        }),
      ),
      assignments: listOption(options, 'var'),
    },
    ...(varsStore === undefined ? {} : { varsStore: varsStoreAt(resolve(context.cwd, varsStore)) }),
  };
}

/** The only record of generated values: replaced atomically, readable by its owner alone. */
export function varsStoreAt(path: string): VarsStorePort {
  return {
    file: path,
    load: async () => {
      try {
        return await readFile(path, 'utf8');
      } catch (error) {
        if (errorCode(error) === 'ENOENT') return undefined;
        throw unreadable(`variables file store '${path}'`, error);
      }
    },
    save: async (text) => {
      // Loaded only when something was generated.
      const { writeFileDurably } = await import('@microbosh/host');
      await mkdir(dirname(path), { recursive: true });
      await writeFileDurably(path, text);
    },
  };
}

async function readText(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw unreadable(what, error);
  }
}

function unreadable(what: string, error: unknown): DocumentUnreadable {
  return new DocumentUnreadable(`Reading ${what}: ${messageOf(error)}`, {
    advice: 'Check the path.',
    cause: error,
  });
}
