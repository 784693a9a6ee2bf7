/** Called by any program at port 4401: `{"name":"car.where","args":{"plate":"PISA 4"}}`. */
import { CallMethod } from 'coda-queue';
import { lastOf } from '../park.ts';

/** Codes from 100 on are a method's own. */
const NEVER_HERE = 100;

export default class Where extends CallMethod<{ plate: unknown }> {
  override readonly defaultArgs = { plate: '' };

  override async execute(): Promise<void> {
    const { plate } = this.args;
    const passage = typeof plate === 'string' && plate !== '' ? await lastOf(plate) : undefined;
    if (passage) this.succeed(passage.direction === 'in' ? 'inside' : 'gone', passage);
    else this.fail(NEVER_HERE, `no car ${JSON.stringify(plate)} has been here`);
  }
}
