/** What goes in and out over the API, as it stands in JSON. */
import { z } from 'zod';

const time = z.iso.datetime();
const whole = z.int().min(0);
/** Any JSON; how deep it nests has been looked at before. */
const json = z.unknown();

export const errorBody = z
  .strictObject({ error: z.strictObject({ code: z.string(), message: z.string() }) })
  .meta({ id: 'Error', description: 'What every refusal looks like.' });

const problem = z.strictObject({ code: z.string(), message: z.string() });

// Names, as paths have them.

export const queueName = z
  .string()
  .regex(
    /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$/,
    "expected 1 to 64 letters, digits, '.', '_' or '-', no leading '.'",
  );
export const uuid = z.string().regex(/^[0-9A-Fa-f-]{36}$/, 'expected a uuid');
const PROCESS = "expected the name of a process: 1 to 64 letters, digits, '.', '_' or '-', no leading '.'";
export const processName = z.string().regex(/^(?!\.)[A-Za-z0-9._-]{1,64}$/, PROCESS);
export const target = z
  .string()
  .regex(/^(?!\.)[A-Za-z0-9._-]{1,64}(#[0-9]{1,4})?$/, `${PROCESS}; or one of its children, such as mails#2`)
  .describe('A process, with all its children, or one child, such as mails#2; the # is %23 in a path.');

/** Texts of a query. */
export const yesOrNo = z.enum(['true', 'false']).transform((text) => text === 'true');
export const wholeText = (least: number, most: number) =>
  z
    .string()
    .regex(/^\d{1,15}$/, 'expected a whole number')
    .transform(Number)
    .refine((value) => value >= least && value <= most, `expected a whole number from ${least} to ${most}`);

// Queues.

const mark = z.strictObject({ uuid: z.string(), alias: z.string(), timestamp: time }).nullable();

export const queueStatus = z
  .strictObject({
    queue: z.string(),
    lastMessageInserted: mark,
    lastMessageProcessed: mark,
    lastQueueModifyTime: time,
    messagesToProcess: whole.describe('ready + deferred + claimed; disabled ones are not counted'),
    customAttributes: z.record(z.string(), json),
    counts: z.strictObject({ ready: whole, deferred: whole, claimed: whole, disabled: whole, failed: whole }),
    processed: whole.describe('completed or taken, ever'),
    paused: z.boolean(),
    createdAt: time,
    durability: z.enum(['always', 'interval', 'os']),
    lossWindow: z.string(),
    options: z.strictObject({
      uniqueAlias: z.boolean().optional(),
      maxMessages: whole.optional(),
      maxBytes: whole.optional(),
    }),
    damaged: whole,
  })
  .meta({ id: 'QueueStatus' });

/** One that cannot be read does not hide the others. */
const unreadable = z.strictObject({ queue: z.string(), error: problem }).meta({ id: 'UnreadableQueue' });
export const queueList = z.array(z.union([queueStatus, unreadable]));

export const newMessage = z
  .strictObject({
    data: json,
    alias: z.string().optional(),
    retries: whole.optional().describe('how many more times it is tried after a failed try'),
    dateTimeDeferredExecution: z.iso.datetime({ offset: true }).optional().describe('not before this time'),
    disabled: z.boolean().optional(),
    username: z.string().optional(),
  })
  .meta({ id: 'NewMessage' });

export const messageState = z.enum(['ready', 'deferred', 'claimed', 'failed']);

export const message = z
  .strictObject({
    uuid: z.string(),
    alias: z.string(),
    data: json,
    retries: whole,
    executionMode: z.enum(['immediate', 'deferred']),
    dateTimeDeferredExecution: time.optional(),
    disabled: z.boolean(),
    username: z.string(),
    insertedAt: time,
    state: messageState,
    attempts: whole,
    crashes: whole,
    errors: z.array(
      z.strictObject({
        at: z.string(),
        attempt: whole,
        name: z.string(),
        message: z.string(),
        code: z.string().optional(),
      }),
    ),
    holder: z
      .strictObject({
        pid: whole.optional(),
        since: time,
        progress: z.strictObject({ percent: z.number(), text: z.string(), at: time }).optional(),
      })
      .optional(),
  })
  .meta({ id: 'Message' });

export const addedMessage = message
  .extend({ duplicate: z.boolean().describe('nothing was added: a message of that alias is there already') })
  .meta({ id: 'AddedMessage' });

// Processes.

const kind = z.enum(['class', 'daemon', 'worker', 'exec']);
const childState = z.enum(['stopped', 'starting', 'running', 'stopping', 'waiting', 'failed']);

export const answer = z
  .union([
    z.strictObject({ child: z.string(), ok: z.literal(true), result: json }),
    z.strictObject({ child: z.string(), ok: z.literal(false), error: problem }),
  ])
  .meta({ id: 'Answer', description: 'What one child answered, or why there is no answer.' });

const childStatus = z
  .strictObject({
    id: z.string(),
    state: childState,
    pid: whole.nullable(),
    startedAt: time.nullable(),
    restarts: whole,
    failures: whole,
    lastEnd: z.strictObject({ at: time, why: z.string(), failed: z.boolean() }).nullable(),
    nextStartAt: time.nullable(),
    memory: whole.nullable().describe('bytes of resident memory'),
    healthy: z.boolean().nullable(),
    status: z
      .union([z.strictObject({ result: json }), z.strictObject({ error: problem })])
      .optional()
      .describe('what its commandStatus answered; only in /api/status, and only of classes that have one'),
  })
  .meta({ id: 'ChildStatus' });

export const processStatus = z
  .strictObject({
    name: z.string(),
    kind,
    target: z
      .string()
      .describe('what runs: the last part of its path, the name of a daemon, or the type of a worker'),
    origin: z.enum(['configured', 'code', 'added', 'saved']),
    instances: whole,
    wanted: whole.describe('how many children there should be now'),
    autoscale: z
      .strictObject({ min: whole, max: whole, backlog: z.number(), age: z.number().describe('ms') })
      .nullable(),
    queue: z.string().nullable(),
    concurrency: whole.nullable(),
    autostart: z.boolean(),
    children: z.array(childStatus),
  })
  .meta({ id: 'ProcessStatus' });

const masterStatus = z
  .strictObject({
    name: z.string(),
    pid: whole,
    startedAt: time,
    state: z.enum(['starting', 'running', 'stopping', 'stopped']),
  })
  .meta({ id: 'MasterStatus' });

export const status = z
  .strictObject({ master: masterStatus, processes: z.array(processStatus), queues: queueList })
  .meta({ id: 'Status' });

const text = (description: string) => z.string().optional().describe(description);
const amount = (description: string) => z.union([z.string(), z.number()]).optional().describe(description);

/**
 * The keys of `[process:NAME]`. What they may hold, and that there are no others, is said in one place, `supervisor/spec.ts`,
 * which every process passes.
 */
export const newProcess = z
  .looseObject({
    name: processName,
    class: text('path of a module that default-exports a class that extends ManagedProcess'),
    daemon: text('name of a daemon'),
    worker: text('type of a worker'),
    exec: z
      .union([z.string(), z.array(z.string())])
      .optional()
      .describe('a command, or its words'),
    params: json.optional().describe('of a class: an object'),
    instances: amount('how many children; of a worker also least and most: 1-8'),
    scaleBacklog: amount('messages waiting for each child above which one more is started'),
    scaleAge: amount('how long the oldest message may wait, such as 1m'),
    queue: text('of a worker; default: its type'),
    concurrency: amount('of a worker: messages at once in each child'),
    autostart: z.union([z.boolean(), z.string()]).optional(),
    stopDeadline: amount('from the wish to stop a child until it is killed'),
    memoryLimit: amount('resident memory beyond which a child is started anew'),
    onFailure: text('as [daemon] onFailure'),
    restartDelay: amount('from the first failure to the restart'),
    restartDelayMax: amount('the longest such delay'),
    restartReset: amount('time without a failure after which the next one counts as the first'),
    restartLimit: amount('failures after which a child stays down'),
    save: z.boolean().optional().describe('keeps it beyond the end of the supervisor'),
  })
  .meta({ id: 'NewProcess', description: 'Exactly one of class, daemon, worker and exec.' });

export const saveOnly = z.strictObject({
  save: z.boolean().optional().describe('keeps the change beyond the end of the supervisor'),
});

const COMMAND = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;
export const command = z.strictObject({
  command: z
    .string()
    .regex(COMMAND, 'expected the name of a command: letters, digits, _ and -, a letter first'),
  args: json.optional(),
  deadline: z.int().min(1).max(300_000).optional().describe('ms for each child; default 5000'),
});

export const scale = saveOnly.extend({ instances: z.int().min(0).max(512) });

export const event = z
  .strictObject({
    id: whole,
    at: time,
    type: z.string(),
    process: z.string().nullable(),
    child: z.string().nullable(),
    data: json,
  })
  .meta({ id: 'Event' });
