/** Starts one service of a configuration: its sockets or its device, its way out, its log. */
import type { LoopCheck } from "./chain/socket.ts";
import type { ServiceConfig } from "./config/model.ts";
import { parseIp } from "./config/net.ts";
import { mayLoop, serviceChains } from "./config/plan.ts";
import { boundDevices } from "./config/start.ts";
import { tungoOptions } from "./config/tungo.ts";
import { configError, type TsgostError } from "./errors.ts";
import type { Logger } from "./log.ts";
import { Masks } from "./masks.ts";
import type { Registry } from "./registry.ts";
import type { CoreNumbers } from "./serve/metrics.ts";
import type { ServiceStats } from "./serve/stats.ts";
import type { ServiceInfo } from "./serve/tungo/service.ts";
import { loadNative } from "./sys/addon.ts";
import { LoopGuard } from "./sys/loop-guard.ts";

/** A service that runs. */
export interface Started {
  readonly info: ServiceInfo;
  /** Counters of the core; absent for services without one. */
  readonly core?: () => CoreNumbers | undefined;
  /** Ends it; what hangs on it is reset. */
  close(): Promise<void>;
}

/** What all services of the process share, whatever configuration they are of. */
export class Shared {
  readonly masks = new Masks();
  #guard: LoopGuard | undefined;

  /** Knows our own devices; made with the first of them. */
  get guard(): LoopGuard {
    this.#guard ??= new LoopGuard(loadNative());
    return this.#guard;
  }

  /** Whether this process has, or had, a device. */
  get hasGuard(): boolean {
    return this.#guard !== undefined;
  }

  /** Keeps sockets of ours out of the devices of this process. */
  readonly loopTo: LoopCheck = (address, mark, local) => {
    const to = bytesOf(address);
    if (to === undefined || this.#guard === undefined) return undefined;
    const from = bytesOf(local ?? "");
    return this.#guard.deviceTo(to, mark, from?.length === to.length ? from : undefined);
  };
}

export interface ServiceEvents {
  /** It cannot go on. */
  fatal(error: TsgostError): void;
  /** A lost device is there again. */
  back(): void;
}

export interface StartInput {
  readonly service: ServiceConfig;
  readonly registry: Registry;
  readonly shared: Shared;
  readonly stats: ServiceStats;
  readonly events: ServiceEvents;
}

/** The service holds the registry until it is closed. Throws a TsgostError; nothing stays then. */
export async function startService(input: StartInput): Promise<Started> {
  const { registry, service } = input;
  registry.hold();
  try {
    const isTungo = service.listener.type === "tungo";
    const started = isTungo ? await startTungo(input) : await startSockets(input);
    return {
      ...started,
      close: async () => {
        try {
          await started.close();
        } finally {
          registry.release();
        }
      },
    };
  } catch (error) {
    registry.release();
    throw error;
  }
}

async function startSockets({ service, registry, stats }: StartInput): Promise<Started> {
  const { startServer } = await import("./serve/server.ts");
  const router = registry.router(service);
  const authenticator = await registry.authenticator(service);
  const admission = await registry.admission(service);
  const log = registry.log(service);
  await registry.ready();
  const { signal } = new AbortController();
  const context = { log, signal, router, authenticator, admission, stats };
  const server = await startServer(service, registry.config, context);
  return {
    info: { name: service.name, addresses: [server.address] },
    close: () => server.close(),
  };
}

async function startTungo(input: StartInput): Promise<Started> {
  const { service, registry, shared, events } = input;
  const { options: tungo } = tungoOptions(service);
  const [{ TungoService }, { Poller }, { openTungoDevice }] = await Promise.all([
    import("./serve/tungo/service.ts"),
    import("./sys/poll.ts"),
    import("./serve/tungo/open.ts"),
  ]);
  const { masks, guard } = shared;
  const log = registry.log(service);
  const native = loadNative();
  for (const { name, place } of boundDevices(service, registry.config)) {
    // Every dial would fail: better said before a device is made.
    if (native.ifIndex(name) > 0) continue;
    throw configError(place, `interface: there is no network device ${JSON.stringify(name)}`);
  }
  warnLoop(input, log);
  const poller = new Poller(native);
  const serviceLog = log.child({ service: service.name, handler: "tungo" });
  const router = registry.router(service, {
    dialTimeoutMs: tungo.dialTimeoutMs,
    local: { device: tungo.interface, mark: tungo.soMark },
  });
  await registry.ready();
  const running = new TungoService({
    name: service.name,
    tungo,
    router,
    addMask: (buffer, mask) => masks.add(buffer, mask),
    native,
    poller,
    log: serviceLog,
    guard,
    openDevice: (again) =>
      openTungoDevice(tungo, { native, poller, log: serviceLog, guard }, again),
    onFatal: (error) => events.fatal(error),
    onBack: () => events.back(),
  });
  return {
    info: running.start(),
    core: () => running.numbers(),
    close: () => {
      running.close();
      return Promise.resolve();
    },
  };
}

function warnLoop({ service, registry }: StartInput, log: Logger): void {
  const { options } = tungoOptions(service);
  if (!mayLoop(options, serviceChains(service, registry.config))) return;
  log.warn(
    "routes lead into the device, and no interface or so_mark keeps tsgost's own sockets out " +
      "of it: give interface=DEVICE to the first -F (to -L without a chain), or exclude the server",
    { service: service.name },
  );
}

/** Four or sixteen bytes of an address's text. */
function bytesOf(text: string): Uint8Array | undefined {
  const ip = parseIp(text);
  return ip?.bytes.subarray(0, ip.family === 4 ? 4 : 16);
}
