import { runCpiExecutable } from '@microbosh/cpi';
import { createAwsCpi } from './aws-cpi.ts';

await runCpiExecutable(createAwsCpi);
