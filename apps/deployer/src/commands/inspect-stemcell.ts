import { resolve } from 'node:path';
import { openStemcell } from '@microbosh/artifacts';
import { processFolder } from '@microbosh/host';
import type { CommandContext, CommandOptions } from '../cli/context.ts';
import { textOption } from '../cli/context.ts';

export async function run(
  context: CommandContext,
  args: readonly string[],
  options: CommandOptions,
): Promise<number> {
  const sha1 = textOption(options, 'sha1');
  const folder = await processFolder('inspect');
  try {
    const stemcell = await openStemcell(resolve(context.cwd, args[0] ?? ''), {
      workDir: folder.path,
      signal: context.signal,
      ...(sha1 === undefined ? {} : { sha1 }),
    });
    const { manifest } = stemcell;
    if (context.global.json) {
      context.console.json({
        name: manifest.name,
        version: manifest.version,
        operating_system: manifest.operatingSystem ?? null,
        api_version: manifest.apiVersion,
        stemcell_formats: manifest.stemcellFormats,
        cloud_properties: manifest.cloudProperties,
        image_bytes: stemcell.imageBytes,
        sha1: stemcell.digest,
        micro: stemcell.applySpec !== undefined,
      });
      return 0;
    }
    const lines = [
      `Name              ${manifest.name}`,
      `Version           ${manifest.version}`,
      `Operating system  ${manifest.operatingSystem ?? 'unknown'}`,
      `API version       ${manifest.apiVersion}`,
      `Formats           ${manifest.stemcellFormats.length === 0 ? 'unknown' : manifest.stemcellFormats.join(', ')}`,
      `Cloud properties  ${JSON.stringify(manifest.cloudProperties)}`,
      `Image             ${stemcell.imageBytes} bytes${manifest.sha1 === undefined ? '' : ', as its digest says'}`,
      `Digest            ${stemcell.digest}`,
      ...(stemcell.applySpec === undefined ? [] : ['Micro             yes: jobs and packages are inside']),
    ];
    context.console.block(`${lines.join('\n')}\n`);
    return 0;
  } finally {
    await folder.remove();
  }
}
