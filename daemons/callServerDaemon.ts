/** A daemon that ships: the call server, with the queues of the configuration and the methods of [call] methodsDir. */
import * as library from 'coda-queue';
import { CallServer, Daemon, QueueManager, type DaemonStop } from 'coda-queue';
import { ask } from '../src/call/ask.ts';
import { addressOf } from '../src/call/host.ts';
import { loadMethods } from '../src/call/loader.ts';
import type { Config } from '../src/config.ts';
import { openOptionsOf } from '../src/manager-options.ts';
import { sinkOf } from '../src/worker/log.ts';

/** How long its own `verify` may take; ms. Less than the runner waits for the verdict. */
const PATIENCE = 5000;

export default class CallServerDaemon extends Daemon {
  #manager: QueueManager | undefined;
  #server: CallServer | undefined;

  /** Errors: CONFIG_INVALID: the host needs a token; METHOD_FAILED: a method cannot be loaded; CALL_FAILED: the port is taken. */
  override async onStart(): Promise<void> {
    const { config } = this;
    const { call } = config;
    const methods = await loadMethods(call.methodsDir, library);
    const manager = await QueueManager.open(openOptionsOf(config));
    const server = new CallServer({
      scheme: call.callScheme,
      host: call.callHost,
      port: call.callPort,
      token: call.callToken,
      limits: { connections: call.callConnections },
      queues: manager,
      log: sinkOf(this.log),
    });
    for (const [name, method] of methods) server.addMethod(name, method);
    try {
      const { scheme, host, port } = await server.listen();
      this.log.info('listening', { scheme, host, port, methods: server.methods });
    } catch (error) {
      // Nobody calls executeStop for what has not started.
      await manager.close();
      throw error;
    }
    this.#manager = manager;
    this.#server = server;
  }

  /** Methods are loaded once: the language keeps what it has loaded. The rest can be told before anything is stopped. */
  override async onReload({ call }: Config): Promise<void> {
    await addressOf(call.callHost, call.callScheme, call.callToken !== '');
  }

  /** It works when it is called; the iteration has nothing to do. */
  override executeStart(): void {}

  override async executeStop({ signal }: DaemonStop): Promise<void> {
    await this.#server?.close({ signal });
    await this.#manager?.close();
    this.#server = undefined;
    this.#manager = undefined;
  }

  /** Calls its own method `verify`, the way clients do. */
  override async verify(): Promise<boolean> {
    const address = this.#server?.address;
    if (!address) return false;
    const { code } = await ask(address, 'verify', this.config.call.callToken, PATIENCE);
    return code === 0;
  }
}
