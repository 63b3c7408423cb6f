import { describe, expect, it } from 'vitest';
import {
  CloudError,
  DiskNotAttached,
  errorFromWire,
  NotImplemented,
  UnknownCpiError,
  VmCreationFailed,
  VmNotFound,
  wireErrorOf,
} from './errors.ts';

describe('CPI errors', () => {
  it.each([
    new VmNotFound('vm-1'),
    new CloudError('no', { okToRetry: true }),
    new DiskNotAttached('no'),
    new VmCreationFailed('no', { okToRetry: true }),
    new UnknownCpiError('Other::Type', 'no'),
  ])('come back from the wire as they were sent: $name', (error) => {
    const back = errorFromWire(wireErrorOf(error));

    expect(back).toBeInstanceOf(error.constructor);
    expect([back.type, back.message, back.okToRetry]).toEqual([error.type, error.message, error.okToRetry]);
  });

  it.each([
    ['InvalidCall', "Method is not known, got: 'has_disk'"],
    ['Bosh::Clouds::CloudError', 'Invalid Method: has_disk'],
    ['Bosh::Clouds::NotImplemented', 'anything'],
  ])('of type %s with message %s say that a method is not implemented', (type, message) => {
    expect(errorFromWire({ type, message, ok_to_retry: false })).toBeInstanceOf(NotImplemented);
  });

  it('for defects of the program are cloud errors with the message only', () => {
    expect(wireErrorOf(new TypeError('x is undefined'))).toEqual({
      type: 'Bosh::Clouds::CloudError',
      message: 'x is undefined',
      ok_to_retry: false,
    });
  });
});
