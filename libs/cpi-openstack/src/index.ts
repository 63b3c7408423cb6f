export { createOpenstackCpi, OpenstackCpi } from './openstack-cpi.ts';
export { openstackPropertiesSchema } from './openstack-config.ts';
