import { runCpiExecutable } from '@microbosh/cpi';
import { createQemuCpi } from './index.ts';

await runCpiExecutable(createQemuCpi);
