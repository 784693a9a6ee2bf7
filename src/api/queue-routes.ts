/** Queues and messages. */
import { z } from 'zod';
import { QueueError, quote } from '../errors.ts';
import type { Message } from '../message.ts';
import type { MessageInput } from '../validate.ts';
import { Makers } from './large-answers.ts';
import { route, type Context, type Reply, type Route } from './route.ts';
import {
  addedMessage,
  message,
  messageState,
  newMessage,
  queueList,
  queueName,
  queueStatus,
  uuid,
  wholeText,
  yesOrNo,
} from './schemas.ts';
import { messageView, readQueues } from './views.ts';

const QUEUE = { params: z.strictObject({ queue: queueName }) };
const MESSAGE = { params: z.strictObject({ queue: queueName, uuid }) };

const USUAL_LIMIT = 100;
const MOST_LISTED = 1000;
/** A list ends early when it holds so many bytes of JSON: each message may have megabytes. */
const LARGEST_LIST = 8 * 1024 ** 2;
/** Of lists: what is read of a queue for one is in memory with it. */
const LISTS = new Makers();

const filter = z.strictObject({
  state: messageState.optional(),
  alias: z.string().optional(),
  username: z.string().optional(),
  disabled: yesOrNo.optional(),
  limit: wholeText(1, MOST_LISTED).optional().describe(`default ${USUAL_LIMIT}`),
});
const list = z.strictObject({
  messages: z.array(message),
  more: z.boolean().describe('there are more that match'),
});
const changed = z.strictObject({
  changed: z.boolean().describe('false: it was so already'),
});
const CHANGED = { 200: { description: 'whether that has changed anything', schema: changed } };

const ADDED = {
  201: { description: 'it is in the queue, as durably as [queue] durability says', schema: addedMessage },
  200: {
    description: 'a message of this alias is there already, and nothing was added',
    schema: addedMessage,
  },
};

async function add(
  { queues, log }: Context,
  queue: string,
  { dateTimeDeferredExecution: due, ...input }: z.output<typeof newMessage>,
  by: string,
): Promise<Reply> {
  const dated = due === undefined ? input : { ...input, dateTimeDeferredExecution: new Date(due) };
  const added = await queues.addMessage(queue, dated as MessageInput);
  log.debug('message added', { queue, uuid: added.uuid, by });
  const { duplicate, ...rest } = added;
  return {
    status: duplicate ? 200 : 201,
    json: { ...messageView(rest), duplicate },
    headers: { Location: `/api/queues/${queue}/messages/${added.uuid}` },
  };
}

export const QUEUE_ROUTES: readonly Route[] = [
  route(
    {
      ...QUEUE,
      method: 'post',
      path: '/api/queue/{queue}',
      summary: 'Add a message to a queue',
      body: newMessage,
      answers: ADDED,
    },
    (context, { params, body, caller }) => add(context, params.queue, body, caller.by),
  ),
  route(
    {
      method: 'get',
      path: '/api/queues',
      summary: 'All queues, as they stand',
      answers: { 200: { description: 'the queues', schema: z.strictObject({ queues: queueList }) } },
    },
    async ({ queues }) => ({ status: 200, json: { queues: await readQueues(queues) } }),
  ),
  route(
    {
      ...QUEUE,
      method: 'get',
      path: '/api/queues/{queue}',
      summary: 'How a queue stands',
      answers: { 200: { description: 'the queue', schema: queueStatus } },
    },
    async ({ queues }, { params }) => ({ status: 200, json: await queues.queueStatus(params.queue) }),
  ),
  ...(['pause', 'resume'] as const).map((verb) =>
    route(
      {
        ...QUEUE,
        method: 'post',
        path: `/api/queues/{queue}/${verb}`,
        summary: verb === 'pause' ? 'Have nothing claimed or taken any more' : 'Have messages claimed again',
        answers: CHANGED,
      },
      async ({ queues, log }, { params: { queue }, caller }) => {
        const { paused } = await queues.queueStatus(queue);
        await (verb === 'pause' ? queues.pauseQueue(queue) : queues.resumeQueue(queue));
        log.info(`${verb} a queue`, { queue, by: caller.by });
        return { status: 200, json: { changed: paused !== (verb === 'pause') } };
      },
    ),
  ),
  route(
    {
      ...QUEUE,
      method: 'get',
      path: '/api/queues/{queue}/messages',
      summary: 'Messages that match, in order of their place in line',
      query: filter,
      answers: { 200: { description: 'the first of them', schema: list } },
    },
    async (context, { params, query, signal }) => ({
      status: 200,
      text: await LISTS.make(() => listOf(context, params.queue, query, signal)),
      headers: { 'Content-Type': 'application/json' },
    }),
  ),
  route(
    {
      ...QUEUE,
      method: 'post',
      path: '/api/queues/{queue}/messages',
      summary: 'Add a message to a queue',
      body: newMessage,
      answers: ADDED,
    },
    (context, { params, body, caller }) => add(context, params.queue, body, caller.by),
  ),
  route(
    {
      ...MESSAGE,
      method: 'get',
      path: '/api/queues/{queue}/messages/{uuid}',
      summary: 'A message that has not ended',
      answers: { 200: { description: 'the message', schema: message } },
    },
    async (context, { params }) => ({ status: 200, json: messageView(await find(context, params)) }),
  ),
  route(
    {
      ...MESSAGE,
      method: 'delete',
      path: '/api/queues/{queue}/messages/{uuid}',
      summary: 'Remove a message, whatever its state; a claim on it has ended',
      answers: { 204: { description: 'it is gone' } },
    },
    async ({ queues, log }, { params: { queue, uuid }, caller }) => {
      if (!(await queues.removeMessage(queue, uuid))) throw noMessage(queue, uuid);
      log.info('message removed', { queue, uuid, by: caller.by });
      return { status: 204 };
    },
  ),
  route(
    {
      ...MESSAGE,
      method: 'post',
      path: '/api/queues/{queue}/messages/{uuid}/retry',
      summary: 'Put a failed message back in line',
      answers: CHANGED,
    },
    async (context, { params, caller }) => {
      await find(context, params);
      const count = await context.queues.retryMessages(params.queue, [params.uuid]);
      context.log.info('message retried', { ...params, changed: count > 0, by: caller.by });
      return { status: 200, json: { changed: count > 0 } };
    },
  ),
  route(
    {
      ...MESSAGE,
      method: 'post',
      path: '/api/queues/{queue}/messages/{uuid}/cancel',
      summary: 'Have nobody work on a message any more: it stands as failed',
      body: z.strictObject({ reason: z.string().optional() }),
      answers: CHANGED,
    },
    async (context, { params, body, caller }) => {
      await find(context, params);
      const changed = await context.queues.cancelMessage(params.queue, params.uuid, body.reason);
      context.log.info('message cancelled', { ...params, changed, by: caller.by });
      return { status: 200, json: { changed } };
    },
  ),
];

async function listOf(
  { queues }: Context,
  queue: string,
  { limit = USUAL_LIMIT, ...wanted }: z.output<typeof filter>,
  signal: AbortSignal,
): Promise<string> {
  const messages: string[] = [];
  let bytes = 0;
  let more = false;
  // Its client may have left while it waited for its turn.
  if (signal.aborted) return '';
  const given = Object.fromEntries(Object.entries(wanted).filter(([, value]) => value !== undefined));
  for await (const found of queues.findMessages(queue, given)) {
    if (signal.aborted) break;
    more = messages.length >= limit || bytes >= LARGEST_LIST;
    if (more) break;
    const json = JSON.stringify(messageView(found));
    messages.push(json);
    bytes += json.length;
  }
  return `{"messages":[${messages.join(',')}],"more":${more}}`;
}

async function find({ queues }: Context, { queue, uuid }: { queue: string; uuid: string }): Promise<Message> {
  const found = await queues.findMessage(queue, { uuid });
  if (found) return found;
  throw noMessage(queue, uuid);
}

function noMessage(queue: string, uuid: string): QueueError {
  return new QueueError('MESSAGE_NOT_FOUND', `there is no message ${quote(uuid)} in queue ${queue}`, {
    queue,
  });
}
