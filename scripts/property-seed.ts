/**
 * For every test file: property tests try the same cases in every run, so that a check tells about the change and not
 * about luck. `npm run fuzz` (FUZZ set) tries others each time and prints the seed of what it finds.
 */
import fc from 'fast-check';

if (process.env['FUZZ'] === undefined) fc.configureGlobal({ seed: 20_260_101 });
