import { describeQemuJourney } from './support/qemu-journey.ts';

describeQemuJourney();
