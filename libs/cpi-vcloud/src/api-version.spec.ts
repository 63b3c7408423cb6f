import { parseXml } from '@microbosh/cpi/xml';
import { expect, it } from 'vitest';
import { chooseVersion } from './api-version.ts';

const offer = (...versions: string[]) =>
  parseXml(
    `<SupportedVersions xmlns="http://www.vmware.com/vcloud/versions">${versions
      .map(
        (name) =>
          `<VersionInfo><Version>${name}</Version><LoginUrl>https://v/${name}</LoginUrl></VersionInfo>`,
      )
      .join('')}</SupportedVersions>`,
  );

it.each([
  [['1.5', '5.1', '5.5'], '5.5'],
  [['5.6', '9.0', '20.0', '29.0', '30.0'], '30.0'],
  [['36.3', '9.0', '38.1', '39.0.0-alpha', '41.0'], '38.1'],
])('of %j takes %s', (offered, best) => {
  expect(chooseVersion(offer(...offered), 'https://v')).toEqual({
    name: best,
    number: Number(best),
    loginUrl: `https://v/${best}`,
  });
});

it('says what is offered when nothing is known', () => {
  expect(() => chooseVersion(offer('1.0', '2.0'), 'https://v')).toThrow(
    expect.objectContaining({ advice: expect.stringContaining('It offers: 1.0, 2.0.') as unknown }),
  );
});
