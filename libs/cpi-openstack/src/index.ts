export { createOpenstackCpi } from './openstack-cpi.ts';
export { openstackPropertiesSchema } from './openstack-config.ts';
