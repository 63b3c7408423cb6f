export { createAwsCpi } from './aws-cpi.ts';
export { awsPropertiesSchema } from './aws-config.ts';
