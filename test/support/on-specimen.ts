/** Tests that damage real folders, each files of its own. */
import { test as base } from 'vitest';
import { Specimen } from './specimen.ts';

/** `specimen`: an empty one, which is gone afterwards. */
export const specimenTest = base.extend<{ specimen: Specimen }>({
  // oxlint-disable-next-line no-empty-pattern -- vitest reads from the pattern which fixtures this one needs
  specimen: async ({}, use) => {
    const specimen = new Specimen();
    await use(specimen);
    specimen.dispose();
  },
});

/**
 * `uuids`: of the messages that `make` fills a specimen with. Once for all tests of a file; those that ask for them get a copy as their
 * `specimen`, which is empty for the others.
 */
export function filledBy(make: (specimen: Specimen) => Promise<string[]>) {
  return specimenTest.extend<{ sample: { made: Specimen; uuids: string[] }; uuids: string[] }>({
    sample: [
      // oxlint-disable-next-line no-empty-pattern -- as above
      async ({}, use) => {
        const made = new Specimen();
        const uuids = await make(made);
        await use({ made, uuids });
        made.dispose();
      },
      { scope: 'file' },
    ],
    uuids: async ({ specimen, sample: { made, uuids } }, use) => {
      made.copyTo(specimen);
      await use(uuids);
    },
  });
}
