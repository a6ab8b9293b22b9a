/**
 * Wires services from the configuration and runs them until a signal: the only file that knows all
 * layers below it. Everything is built before anything is reported ready; a failure half-way takes
 * down what stands already.
 */
import type { LoopCheck } from "./chain/socket.ts";
import type { Config, ServiceConfig } from "./config/model.ts";
import { parseIp } from "./config/net.ts";
import { mayLoop, planOf } from "./config/plan.ts";
import { boundDevices } from "./config/start.ts";
import { tungoOptions } from "./config/tungo.ts";
import { configError, defect, EXIT_OK, type TsgostError } from "./errors.ts";
import { logger as log } from "./log.ts";
import { Masks } from "./masks.ts";
import { Registry } from "./registry.ts";
import { ServiceLife } from "./serve/life.ts";
import type { ServiceInfo } from "./serve/tungo/service.ts";
import { loadNative } from "./sys/addon.ts";
import type { LoopGuard } from "./sys/loop-guard.ts";
import { ServiceManager } from "./sys/service-manager.ts";

export interface RunOptions {
  /** Print what would be made, make nothing. */
  readonly dryRun: boolean;
  /** Warnings of the configuration are errors. */
  readonly strict?: boolean;
  /** Ends the run as SIGTERM does (library use and tests). */
  readonly signal?: AbortSignal;
}

/** A service that runs. */
interface Running {
  readonly info: ServiceInfo;
  /** The device came back after it was lost. */
  onBack?: () => void;
  close(): void | Promise<void>;
}

/** After the first signal: what must be gone by then is reset at the latest. */
const CLOSE_MS = 2500;

/** Runs all services; answers the exit code. */
export async function run(config: Config, options: RunOptions): Promise<number> {
  if (options.dryRun) {
    process.stdout.write(`${planOf(config).join("\n")}\n`);
    return EXIT_OK;
  }
  const running: Running[] = [];
  const lives: ServiceLife[] = [];
  const end = untilSignal(options.signal);
  const manager = new ServiceManager(loadNative, log, process.env);
  const shared = await sharedOf(config);
  const { masks, loopTo } = shared;
  const registry = new Registry(config, {
    log,
    mask: masks.mask,
    ...(loopTo === undefined ? {} : { loopTo }),
  });
  let fatal: TsgostError | undefined;
  try {
    for (const service of config.services) {
      const onFatal = (error: TsgostError): void => {
        fatal = error;
        end.now();
      };
      const started = await startService(service, registry, shared, onFatal);
      running.push(started);
      const life = new ServiceLife(service, started.info, log);
      lives.push(life);
      started.onBack = () => life.again();
      await life.begin();
    }
    for (const life of lives) await life.up();
    log.info("ready", { services: running.map(({ info }) => info) });
    manager.ready(`${running.length} services`);
    await end.promise;
  } finally {
    manager.stopping();
    await Promise.all(lives.map((life) => life.down()));
    await closeAll(running);
    end.forget();
  }
  if (fatal === undefined) return EXIT_OK;
  log.fatal(fatal.message);
  return fatal.exitCode;
}

/** What all services of the process share, whatever configuration they are of. */
interface Shared {
  readonly masks: Masks;
  readonly loopTo: LoopCheck | undefined;
  /** Knows our own devices; undefined while no service has one. */
  readonly guard: LoopGuard | undefined;
}

async function sharedOf(config: Config): Promise<Shared> {
  const masks = new Masks();
  if (!config.services.some(({ listener }) => listener.type === "tungo")) {
    return { masks, guard: undefined, loopTo: undefined };
  }
  const { LoopGuard } = await import("./sys/loop-guard.ts");
  const guard = new LoopGuard(loadNative());
  const loopTo: LoopCheck = (address, mark) => {
    const ip = parseIp(address);
    if (ip === undefined) return undefined;
    return guard.deviceTo(ip.bytes.subarray(0, ip.family === 4 ? 4 : 16), mark);
  };
  return { masks, guard, loopTo };
}

/** Starts a service, which holds the registry until it is closed. */
async function startService(
  service: ServiceConfig,
  registry: Registry,
  shared: Shared,
  onFatal: (error: TsgostError) => void,
): Promise<Running> {
  registry.hold();
  try {
    const running =
      service.listener.type === "tungo"
        ? await startTungo(service, registry, shared, onFatal)
        : await startSockets(service, registry);
    const close = running.close.bind(running);
    running.close = async () => {
      try {
        await close();
      } finally {
        registry.release();
      }
    };
    return running;
  } catch (error) {
    registry.release();
    throw error;
  }
}

async function startSockets(service: ServiceConfig, registry: Registry): Promise<Running> {
  const { startServer } = await import("./serve/server.ts");
  const router = registry.router(service);
  const authenticator = registry.authenticator(service);
  await registry.ready();
  const { signal } = new AbortController();
  const context = { log, signal, router, authenticator };
  const server = await startServer(service, registry.config, context);
  return {
    info: { name: service.name, addresses: [server.address] },
    close: () => server.close(),
  };
}

async function startTungo(
  service: ServiceConfig,
  registry: Registry,
  shared: Shared,
  onFatal: (error: TsgostError) => void,
): Promise<Running> {
  const { options: tungo } = tungoOptions(service);
  const { chain } = service.handler;
  const [{ TungoService }, { Poller }, { openTungoDevice }] = await Promise.all([
    import("./serve/tungo/service.ts"),
    import("./sys/poll.ts"),
    import("./serve/tungo/open.ts"),
  ]);
  const { config } = registry;
  const { guard, masks } = shared;
  if (guard === undefined) throw defect("a tungo service without a guard against loops");
  const native = loadNative();
  for (const { name, place } of boundDevices(service, config)) {
    // Every dial would fail: better said before a device is made.
    if (native.ifIndex(name) > 0) continue;
    throw configError(place, `interface: there is no network device ${JSON.stringify(name)}`);
  }
  if (
    mayLoop(
      tungo,
      config.chains.find(({ name }) => name === chain),
    )
  ) {
    log.warn(
      "routes lead into the device, and no interface or so_mark keeps tsgost's own sockets out " +
        "of it: give interface=DEVICE to the first -F (to -L without a chain), or exclude the server",
      { service: service.name },
    );
  }
  const poller = new Poller(native);
  const serviceLog = log.child({ service: service.name, handler: "tungo" });
  let onBack = (): void => undefined;
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
    onFatal,
    onBack: () => onBack(),
  });
  const result: Running = { info: running.start(), close: () => running.close() };
  onBack = () => result.onBack?.();
  return result;
}

async function closeAll(running: readonly Running[]): Promise<void> {
  const closing = Promise.allSettled(running.map(async (service) => service.close()));
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((resolve) => {
    timer = setTimeout(resolve, CLOSE_MS);
  });
  await Promise.race([closing, late]);
  clearTimeout(timer);
}

interface End {
  readonly promise: Promise<void>;
  now(): void;
  forget(): void;
}

/** Settles at the first SIGINT or SIGTERM; the second one ends the process at once. */
function untilSignal(signal: AbortSignal | undefined): End {
  let now = (): void => undefined;
  const promise = new Promise<void>((resolve) => {
    now = resolve;
  });
  let count = 0;
  const onSignal = (): void => {
    count++;
    if (count > 1) process.exit(EXIT_OK);
    now();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  signal?.addEventListener("abort", now, { once: true });
  return {
    promise,
    now: () => now(),
    forget: () => {
      // The handlers stay: a signal during the last clean-up must not leave it half-done.
      signal?.removeEventListener("abort", now);
    },
  };
}
