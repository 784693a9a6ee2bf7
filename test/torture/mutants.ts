/**
 * Broken engines that the torture must catch: those of the simulation that no power cut is needed for, and some of its own.
 * Some are given away by what processes were told, others first by an error that the engine itself runs into.
 */
import { MUTANTS as SIMULATED, type Mutant } from '../simulation/mutants.ts';

const SHARED = [
  'a settle without a look at the token',
  'an expiry that ignores a newer renewal',
  'a claim that takes a message out of another claim',
  'replay ends at a torn record',
  'the tail is truncated on opening',
  'what stands behind a seal counts',
  'the folder chooses the successor',
  'unfinished heads are removed too early',
  'deletion by the position of a message instead of its place',
  'numbers restart after a destruction',
  'a claim is answered without reading back',
  'the old payload after an update',
  'the old place after a carry',
];

const OWN: readonly Mutant[] = [
  {
    name: 'who cannot be read about is dead',
    edits: [
      {
        file: 'src/process-table.ts',
        find: 'return facts !== undefined && (isEnded(facts)',
        replace: 'return facts === undefined || (isEnded(facts)',
      },
    ],
  },
  {
    name: 'an add is answered before it is written',
    edits: [
      {
        file: 'src/cache/adds.ts',
        find: 'this.size = messages.reduce(',
        replace:
          'answer.resolve(messages.map((message, i) => addedOf(message, this.#drafts[i]!, Date.now())));\n    this.size = messages.reduce(',
      },
    ],
  },
  {
    name: 'a segment is deleted while messages wait in it',
    edits: [
      {
        file: 'src/cache/sweep.ts',
        find: 'for (const reference of loaded.references) named.add(reference);',
        replace: '',
      },
    ],
  },
];

export const MUTANTS: readonly Mutant[] = [
  ...OWN,
  ...SHARED.map((name) => {
    const mutant = SIMULATED.find((each) => each.name === name);
    if (!mutant) throw new Error(`no mutant of the simulation is named ${name}`);
    return mutant;
  }),
];
