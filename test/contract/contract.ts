/**
 * What every backend must do, as one suite. A backend's own test file calls `contract` with a way to make a store;
 * a sentence that holds for one backend only does not belong here.
 */
import { describe } from 'vitest';
import { adding } from './adding.ts';
import { cancelling } from './cancelling.ts';
import { claiming } from './claiming.ts';
import { closing } from './closing.ts';
import { ending } from './ending.ts';
import { events } from './events.ts';
import { failing } from './failing.ts';
import { finding } from './finding.ts';
import { hostile } from './hostile.ts';
import { limits } from './limits.ts';
import { queues } from './queues.ts';
import { scheduling } from './scheduling.ts';
import { sharing } from './sharing.ts';
import { status } from './status.ts';
import { contractTest } from './subject.ts';
import type { MakeStore } from './subject.ts';
import { updating } from './updating.ts';
import { waiting } from './waiting.ts';

export function contract(name: string, makeStore: MakeStore): void {
  describe(`the contract, kept by ${name}`, () => {
    const test = contractTest(makeStore);
    queues(test);
    adding(test);
    claiming(test);
    failing(test);
    cancelling(test);
    ending(test);
    scheduling(test);
    waiting(test);
    finding(test);
    updating(test);
    limits(test);
    status(test);
    hostile(test);
    sharing(test);
    events(test);
    closing(test);
  });
}
