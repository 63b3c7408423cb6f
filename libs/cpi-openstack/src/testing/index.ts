export { FakeOpenstack, fakeCredentials } from './fake-openstack.ts';
export { openstackUnderTest } from './openstack-under-test.ts';
