import { createServer, type Server } from 'node:http';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { NodeCommandRunner } from '@microbosh/host';

const runner = new NodeCommandRunner();

/** An ISO 9660 image with these files. */
export async function writeMedium(
  target: string,
  label: string,
  files: Readonly<Record<string, string>>,
): Promise<void> {
  const tree = `${target}.tree`;
  await rm(tree, { recursive: true, force: true });
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(tree, path)), { recursive: true });
    await writeFile(join(tree, path), text);
  }
  await rm(target, { force: true });
  await runner.run(['xorriso', '-as', 'mkisofs', '-quiet', '-V', label, '-J', '-R', '-o', target, tree]);
  await rm(tree, { recursive: true });
}

/** EC2's metadata service with user data that is the settings themselves; the token service of IMDSv2 included. */
export async function serveMetadata(userData: Buffer): Promise<Server> {
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    if (request.method === 'PUT' && path === '/latest/api/token') response.end('token');
    else if (path === '/latest/user-data') response.end(userData);
    else if (path === '/latest/meta-data/instance-id') response.end('i-0123456789abcdef0');
    else response.writeHead(404).end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}

/** A program that QEMU starts for each connection to the service: its own forwarding has one connection for all. */
export async function writeRelay(path: string, server: Server): Promise<void> {
  const address = server.address();
  const port = typeof address === 'object' ? address?.port : undefined;
  await writeFile(path, `#!/bin/bash\nexec 3<>/dev/tcp/127.0.0.1/${port}\ncat <&3 &\ncat >&3\n`);
  await chmod(path, 0o700);
}
