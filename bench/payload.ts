/** What is queued: one JSON object of about 195 bytes, as in an e-mail job, with a number to tell it from the others. */
export type Payload = {
  /** Its number, from 0: what was delivered is checked by it. */
  i: number;
  /** When it was sent, by the machine's monotonic clock in microseconds; 0 where nobody asks. */
  t: number;
  kind: string;
  to: string;
  subject: string;
  lang: string;
  body: string;
};

export function payload(i: number, t = 0): Payload {
  return {
    i,
    t,
    kind: 'email.send',
    to: `user${i}@example.com`,
    subject: 'Welcome aboard',
    lang: 'en',
    body: 'Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor',
  };
}
