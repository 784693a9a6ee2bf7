/** Actions of our own beside those of the control API: /api/park, /api/park/open. */
import type { ActionContext } from 'coda-queue';
import { inside } from '../park.ts';

export default class ParkController {
  /** GET /api/park: who is inside. */
  async actionIndex(): Promise<unknown> {
    return { inside: await inside() };
  }

  /** POST /api/park/open, { "plate": … }: lets a car in by hand. */
  async actionOpen({ control, body }: ActionContext): Promise<unknown> {
    return control.send('gate-in', 'pass', body);
  }
}
