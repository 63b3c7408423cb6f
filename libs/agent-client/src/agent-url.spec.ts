import { describe, expect, it } from 'vitest';
import { parseMbus } from './agent-url.ts';

describe('the URL of the message bus', () => {
  it('gives user and password as they are meant, not as they are written', () => {
    expect(parseMbus('https://us%40er:s%2Fcret%3A1@10.0.0.5:6868')).toEqual({
      origin: 'https://10.0.0.5:6868',
      host: '10.0.0.5',
      port: 6868,
      user: 'us@er',
      password: 's/cret:1',
    });
  });

  it('may have an IPv6 address, no port, no user, and a percent sign that stands for itself', () => {
    expect(parseMbus('https://[fd00::5]')).toMatchObject({
      host: 'fd00::5',
      port: 443,
      user: '',
      password: '',
    });
    expect(parseMbus('https://u:100%@h:1').password).toBe('100%');
  });

  it.each(['', 'text', 'http://u:p@h:1', 'nats://u:p@h:1'])(
    'is refused when it is %j, without showing it',
    (mbus) => {
      expect(() => parseMbus(mbus)).toThrow('is not an https URL with a host');
      expect(() => parseMbus(mbus)).not.toThrow('u:p');
    },
  );
});
