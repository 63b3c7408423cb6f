import { describe, expect, it } from 'vitest';
import { blobPath, isBlobId } from './blob-path.ts';
import { isRunningTask, parseAnswer, parseRequest } from './envelope.ts';
import { isTask } from './methods.ts';
import { parseArguments, parseResult } from './validation.ts';

describe('parseRequest', () => {
  it('reads what create-env sends', () => {
    const request = parseRequest('{"method":"apply","arguments":[{"a":1}],"reply_to":"uuid"}');

    expect(request).toEqual({ method: 'apply', arguments: [{ a: 1 }], reply_to: 'uuid', protocol: 0 });
  });

  it.each(['', '[]', '"x"', '{"method":1}', '{"method":"a","protocol":1.5}', '{"method":"a"'])(
    'refuses %j',
    (body) => {
      expect(() => parseRequest(body)).toThrow();
    },
  );
});

describe('parseAnswer', () => {
  it('accepts exceptions as objects and as bare strings', () => {
    expect(parseAnswer({ exception: 'x' })).toEqual({ exception: { message: 'x' } });
    expect(parseAnswer({ exception: { message: 'x', backtrace: [] } })).toEqual({
      exception: { message: 'x' },
    });
  });

  it('tells that something is no answer', () => {
    expect(parseAnswer({})).toBeUndefined();
    expect(parseAnswer([])).toBeUndefined();
  });

  it('takes a value for unfinished only with an id and the state running', () => {
    expect(isRunningTask({ agent_task_id: 'a', state: 'running' })).toBe(true);
    expect(isRunningTask({ agent_task_id: 'a', state: 'done' })).toBe(false);
    expect(isRunningTask('pong')).toBe(false);
  });
});

describe('parseArguments', () => {
  it('ignores surplus arguments and takes null for none', () => {
    expect(parseArguments('ping', ['a', 1])).toEqual([]);
    expect(parseArguments('ping', null)).toEqual([]);
  });

  it('says how many arguments are missing, as the original does', () => {
    expect(() => parseArguments('run_script', ['pre-start'])).toThrow(
      'Extracting method arguments from payload: Not enough arguments, expected 2, got 1',
    );
  });

  it.each([
    ['mount_disk', [1]],
    ['mount_disk', ['']],
    ['add_persistent_disk', ['cid', { volume_id: 3 }]],
    ['apply', [{ packages: { a: { name: 'a', version: '1', sha1: '' } } }]],
    ['sync_dns', ['id', 'digest', -1]],
  ] as const)('refuses wrong arguments of %s', (method, args) => {
    expect(() => parseArguments(method, args)).toThrow(/Unmarshalling action argument: json:/);
  });

  it('never shows a value, which may be a secret', () => {
    try {
      parseArguments('upload_blob', [{ blob_id: 'a', checksum: 's3cret', payload: 7 }]);
      expect.unreachable();
    } catch (error) {
      expect(String(error)).not.toContain('s3cret');
    }
  });

  it('refuses arguments that are not a list', () => {
    expect(() => parseArguments('ping', { a: 1 })).toThrow(/Unmarshalling payload arguments/);
  });

  it('accepts the first apply of create-env, whose references are empty', () => {
    const spec = {
      deployment: '',
      name: 'bosh',
      index: 0,
      id: '0',
      az: 'unknown',
      networks: { default: { type: 'manual', ip: '10.0.0.6', default: ['dns', 'gateway'] } },
      job: { name: 'bosh', templates: [] },
      packages: {},
      rendered_templates_archive: { blobstore_id: '', sha1: '' },
      configuration_hash: 'unused-configuration-hash',
    };

    expect(parseArguments('apply', [spec])).toEqual([spec]);
  });
});

describe('parseResult', () => {
  it('refuses a start that did not start', () => {
    expect(parseResult('start', 'started')).toBe('started');
    expect(() => parseResult('start', 'maybe')).toThrow(/not what the protocol says/);
  });
});

describe('isTask', () => {
  it('makes list_disk a task from protocol 3 on', () => {
    expect(isTask('list_disk', 2)).toBe(false);
    expect(isTask('list_disk', 3)).toBe(true);
  });
});

describe('blob ids', () => {
  it('lie in a directory by the hash of their id', () => {
    expect(blobPath('b-1')).toMatch(/^[0-9a-f]{2}\/b-1$/);
  });

  it.each(['', '.', '..', 'a/b', 'a\\b', 'a\0b', 'a\nb'])('never are %j', (id) => {
    expect(isBlobId(id)).toBe(false);
  });
});
