/** Processes and their children. */
import { dirname } from 'node:path';
import { z } from 'zod';
import { QueueError, quote } from '../errors.ts';
import type { Json } from '../message.ts';
import type { ChangeOptions, ProcessStatus, SupervisorControl } from '../supervisor/shape.ts';
import { checkProcess } from '../supervisor/spec.ts';
import type { Caller } from './admission.ts';
import { route, type Route } from './route.ts';
import {
  answer,
  command,
  newProcess,
  processName,
  processStatus,
  saveOnly,
  scale,
  target,
  yesOrNo,
} from './schemas.ts';
import { answerView, processView } from './views.ts';

const NAME = { params: z.strictObject({ name: processName }) };
const TARGET = { params: z.strictObject({ name: target }) };
const AFTERWARDS = { 200: { description: 'the process, as it stands afterwards', schema: processStatus } };

const SUMMARIES = {
  start: 'Start a process, or one child',
  stop: 'Stop a process, or one child; answered when it has ended',
  restart: 'Restart a process, one child after the other, or one child',
  reset: 'Forget the failures of a process, or of one child, and start what has failed',
} as const;

export const PROCESS_ROUTES: readonly Route[] = [
  route(
    {
      method: 'get',
      path: '/api/processes',
      summary: 'All processes, with their children',
      answers: {
        200: { description: 'the processes', schema: z.strictObject({ processes: z.array(processStatus) }) },
      },
    },
    ({ control }) => ({
      status: 200,
      json: { processes: control.status().processes.map((process) => processView(process)) },
    }),
  ),
  route(
    {
      method: 'post',
      path: '/api/processes',
      summary: 'Add a process, and start it',
      body: newProcess,
      answers: {
        201: {
          description: 'it is there, and its children are up, or one has failed',
          schema: processStatus,
        },
      },
    },
    async ({ control, config, log }, { body: { save, ...input }, caller }) => {
      const folder = config.file === undefined ? process.cwd() : dirname(config.file);
      const spec = checkProcess(input, { config, folder });
      log.info('add a process', { process: spec.name, saved: save ?? false, by: caller.by });
      const added = await control.add(spec, optionsOf(save, caller));
      return { status: 201, json: processView(added), headers: { Location: `/api/processes/${spec.name}` } };
    },
  ),
  route(
    {
      ...NAME,
      method: 'get',
      path: '/api/processes/{name}',
      summary: 'A process, with its children',
      answers: { 200: { description: 'the process', schema: processStatus } },
    },
    ({ control }, { params }) => ({ status: 200, json: processView(find(control, params.name)) }),
  ),
  route(
    {
      ...NAME,
      method: 'delete',
      path: '/api/processes/{name}',
      summary: 'Stop a process, and forget it',
      query: z.strictObject({ save: yesOrNo.optional() }),
      answers: { 204: { description: 'its children have ended, and it is gone' } },
    },
    async ({ control, log }, { params: { name }, query: { save }, caller }) => {
      log.info('remove a process', { process: name, saved: save ?? false, by: caller.by });
      await control.remove(name, optionsOf(save, caller));
      return { status: 204 };
    },
  ),
  ...(['start', 'stop', 'restart', 'reset'] as const).map((verb) =>
    route(
      {
        ...TARGET,
        method: 'post',
        path: `/api/processes/{name}/${verb}`,
        summary: SUMMARIES[verb],
        body: saveOnly,
        answers: AFTERWARDS,
      },
      async ({ control, log }, { params: { name }, body: { save }, caller }) => {
        log.info(`${verb} a process`, { process: name, saved: save ?? false, by: caller.by });
        await control[verb](name, optionsOf(save, caller));
        return { status: 200, json: processView(find(control, name)) };
      },
    ),
  ),
  route(
    {
      ...NAME,
      method: 'post',
      path: '/api/processes/{name}/scale',
      summary: 'Have more children of a process, or fewer',
      body: scale,
      answers: AFTERWARDS,
    },
    async ({ control, log }, { params: { name }, body: { instances, save }, caller }) => {
      log.info('scale a process', { process: name, instances, saved: save ?? false, by: caller.by });
      return {
        status: 200,
        json: processView(await control.scale(name, instances, optionsOf(save, caller))),
      };
    },
  ),
  route(
    {
      ...TARGET,
      method: 'post',
      path: '/api/processes/{name}/command',
      summary: 'Ask all children of a process, or one child; none waits for another',
      body: command,
      answers: {
        200: {
          description: 'what each answered, or why it did not',
          schema: z.strictObject({ answers: z.array(answer) }),
        },
      },
    },
    async ({ control, log }, { params: { name }, body, caller }) => {
      log.info('command to a process', { process: name, command: body.command, by: caller.by });
      const { deadline, args = {} } = body;
      const options = deadline === undefined ? {} : { deadline };
      const answers = await control.collect(name, body.command, args as Json, options);
      return { status: 200, json: { answers: answers.map(answerView) } };
    },
  ),
];

function optionsOf(save: boolean | undefined, { by }: Caller): ChangeOptions {
  return { by, ...(save !== undefined && { save }) };
}

/** By its name, or by that of a child. */
function find(control: SupervisorControl, target: string): ProcessStatus {
  const [name = ''] = target.split('#');
  const found = control.status().processes.find(({ spec }) => spec.name === name);
  if (found) return found;
  throw new QueueError('UNKNOWN_PROCESS', `there is no process ${quote(name)}`);
}
