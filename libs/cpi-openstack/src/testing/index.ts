export * from './fake-openstack.ts';
export * from './lifecycle.ts';
export * from './openstack-under-test.ts';
export * from './recorded-cloud.ts';
export * from './recording.ts';
