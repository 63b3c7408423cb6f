import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { withQmp } from './qmp-client.ts';
import { FakeQemu, type FakeAnswer } from './testing/fake-qemu.ts';

let directory: string;
let socket: string;
let fake: FakeQemu | undefined;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'qmp-'));
  socket = join(directory, 'qmp.sock');
});

afterEach(async () => {
  await fake?.close();
  fake = undefined;
  await rm(directory, { recursive: true });
});

async function serve(answers: Readonly<Record<string, FakeAnswer>>): Promise<FakeQemu> {
  fake = await FakeQemu.listen(socket, (command) => answers[command] ?? { return: {} });
  return fake;
}

describe('QMP', () => {
  it('resolves with what the command returns, and sends its arguments', async () => {
    const qemu = await serve({ 'query-status': { return: { status: 'running' } } });

    const answer = await withQmp(socket, {}, (qmp) => qmp.execute('query-status', { a: 1 }));

    expect(answer).toEqual({ status: 'running' });
    expect(qemu.commands).toEqual([{ execute: 'query-status', arguments: { a: 1 } }]);
  });

  it("passes on QEMU's class and words of an error", async () => {
    await serve({ device_add: { error: { class: 'GenericError', desc: 'Duplicate device ID' } } });

    await expect(withQmp(socket, {}, (qmp) => qmp.execute('device_add'))).rejects.toMatchObject({
      code: 'E_QEMU_QMP_COMMAND',
      errorClass: 'GenericError',
      message: 'QEMU refused device_add: Duplicate device ID',
    });
  });

  it('hands out an event that came before it was waited for', async () => {
    await serve({
      device_del: {
        return: {},
        events: [
          { event: 'DEVICE_DELETED', data: { path: '/machine/peripheral/x/virtio-backend' } },
          { event: 'DEVICE_DELETED', data: { device: 'dev-x', path: '/machine/peripheral/x' } },
        ],
      },
    });

    const event = await withQmp(socket, {}, async (qmp) => {
      await qmp.execute('device_del');
      return qmp.waitForEvent(({ data }) => data['device'] === 'dev-x', 1000);
    });

    expect(event.data['path']).toBe('/machine/peripheral/x');
  });

  it('gives up on an event that does not come', async () => {
    await serve({});

    await expect(withQmp(socket, {}, (qmp) => qmp.waitForEvent(() => true, 30))).rejects.toMatchObject({
      code: 'E_QEMU_QMP_UNREACHABLE',
    });
  });

  it('gives up on an answer that does not come', async () => {
    await serve({ stop: 'silence' });

    await expect(
      withQmp(socket, { commandTimeoutMs: 30 }, (qmp) => qmp.execute('stop')),
    ).rejects.toMatchObject({ code: 'E_QEMU_QMP_UNREACHABLE' });
  });

  it('says so when QEMU ends in the middle of a command', async () => {
    await serve({ quit: 'hang-up' });

    await expect(withQmp(socket, {}, (qmp) => qmp.execute('quit'))).rejects.toMatchObject({
      code: 'E_QEMU_QMP_UNREACHABLE',
    });
  });

  it('says so when nobody listens', async () => {
    await expect(
      withQmp(socket, { connectTimeoutMs: 50 }, (qmp) => qmp.execute('stop')),
    ).rejects.toMatchObject({ code: 'E_QEMU_QMP_UNREACHABLE' });
  });

  it('waits until the client before it has gone', async () => {
    await serve({});
    let secondIsIn = false;

    await withQmp(socket, {}, async (first) => {
      const second = withQmp(socket, {}, (qmp) => qmp.execute('cont')).then(() => {
        secondIsIn = true;
      });
      await first.execute('stop');
      expect(secondIsIn).toBe(false);
      first.close();
      await second;
    });

    expect(secondIsIn).toBe(true);
  });

  it('ends with its signal', async () => {
    await serve({ stop: 'silence' });
    const controller = new AbortController();

    const pending = withQmp(socket, { signal: controller.signal }, (qmp) => qmp.execute('stop'));
    controller.abort();

    await expect(pending).rejects.toMatchObject({ name: 'AbortError' });
  });
});
