import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { processFolder } from './process-folder.ts';

let parent: string;

beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'process-folder-'));
});

afterEach(() => rm(parent, { recursive: true }));

/** Makes a folder with a file in it in another process, and either waits there or is gone. */
function elsewhere(end: string) {
  const code = `
    const { processFolder } = await import(${JSON.stringify(join(import.meta.dirname, 'process-folder.ts'))});
    const { writeFileSync } = await import('node:fs');
    const { path } = await processFolder('work', ${JSON.stringify(parent)});
    writeFileSync(path + '/secret', 'x');
    process.stdout.write(path);
    ${end}`;
  return spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['pipe', 'pipe', 'inherit'] });
}

async function leftByKilled(): Promise<string> {
  const child = elsewhere('process.kill(process.pid, "SIGKILL")');
  const [path] = await Promise.all([text(child.stdout), once(child, 'close')]);
  return path;
}

describe('a folder of a process', () => {
  it('is private, and gone when it is removed', async () => {
    const folder = await processFolder('work', parent);

    expect((await stat(folder.path)).mode & 0o777).toBe(0o700);
    await folder.remove();
    expect(await readdir(parent)).toEqual([]);
  });

  it('is removed by the next process after its own was killed', async () => {
    const left = await leftByKilled();
    expect(await readdir(parent)).toEqual([basename(left)]);

    const next = await processFolder('work', parent);

    expect(await readdir(parent)).toEqual([basename(next.path)]);
  });

  it('stays while its process lives', async () => {
    const child = elsewhere('process.stdin.resume(); process.stdin.on("end", () => process.exit())');
    const [path] = (await once(child.stdout, 'data')) as [Buffer];

    await processFolder('work', parent);

    expect(await readdir(parent)).toContain(basename(path.toString()));
    child.stdin.end();
    await once(child, 'close');
  });

  it('is told from that of a later process with the same number, and from what is none', async () => {
    const own = basename((await processFolder('work', parent)).path);
    const [, start = ''] = /\.(\d+)-\w{6}$/.exec(own) ?? [];
    const earlier = own.replace(`.${start}-`, `.${Number(start) - 1}-`);
    const foreign = own.replace(/-\d+\./, '-1.').replace(`.${start}-`, '.1-');
    const others = ['microbosh-work', 'microbosh-work-abcdef', foreign];
    for (const name of [earlier, ...others]) await mkdir(join(parent, name));
    await writeFile(join(parent, `${earlier.slice(0, -6)}qwerty`), 'a file');

    const next = await processFolder('other', parent);

    expect((await readdir(parent)).toSorted()).toEqual(
      [own, ...others, basename(next.path), `${earlier.slice(0, -6)}qwerty`].toSorted(),
    );
  });
});
