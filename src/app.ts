/**
 * Wires services from the configuration and runs them until a signal: the only file that knows all
 * layers below it. Everything is built before anything is reported ready; a failure half-way takes
 * down what stands already.
 */
import type { Chain } from "./chain/types.ts";
import { buildChain, type ChainOptions } from "./chain/chain.ts";
import type { LoopCheck } from "./chain/socket.ts";
import type { Config, ServiceConfig } from "./config/model.ts";
import { parseIp } from "./config/net.ts";
import { mayLoop, planOf } from "./config/plan.ts";
import { boundDevices } from "./config/start.ts";
import { tungoOptions } from "./config/tungo.ts";
import { configError, EXIT_OK, type TsgostError } from "./errors.ts";
import { logger as log } from "./log.ts";
import { ServiceLife } from "./serve/life.ts";
import type { ServiceInfo } from "./serve/tungo/service.ts";
import { loadNative } from "./sys/addon.ts";
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
  let fatal: TsgostError | undefined;
  try {
    for (const service of config.services) {
      const started = await startService(service, config, (error) => {
        fatal = error;
        end.now();
      });
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

async function startService(
  service: ServiceConfig,
  config: Config,
  onFatal: (error: TsgostError) => void,
): Promise<Running> {
  if (service.listener.type === "tungo") return startTungo(service, config, onFatal);
  const { startServer } = await import("./serve/server.ts");
  const server = await startServer(service, config, {
    log,
    signal: new AbortController().signal,
    chainFor: (name) => chainFor(name, config, service.place),
  });
  return {
    info: { name: service.name, addresses: [server.address] },
    close: () => server.close(),
  };
}

function chainFor(
  name: string,
  config: Config,
  place: string,
  own: Pick<ChainOptions, "mask" | "loopTo"> = {},
): Chain {
  const chain = config.chains.find((candidate) => candidate.name === name);
  // Fail closed: a chain that is missing must never mean "direct".
  if (chain === undefined) throw configError(place, `chain "${name}" does not exist`);
  return buildChain(chain, { log: log.child({ chain: name }), ...own });
}

async function startTungo(
  service: ServiceConfig,
  config: Config,
  onFatal: (error: TsgostError) => void,
): Promise<Running> {
  const { options: tungo } = tungoOptions(service);
  const { chain } = service.handler;
  const [{ TungoService }, { LoopGuard }, { Poller }, { openTungoDevice }] = await Promise.all([
    import("./serve/tungo/service.ts"),
    import("./sys/loop-guard.ts"),
    import("./sys/poll.ts"),
    import("./serve/tungo/open.ts"),
  ]);
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
  const guard = new LoopGuard(native);
  const loopTo: LoopCheck = (address, mark) => {
    const ip = parseIp(address);
    if (ip === undefined) return undefined;
    return guard.deviceTo(ip.bytes.subarray(0, ip.family === 4 ? 4 : 16), mark);
  };
  let onBack = (): void => undefined;
  const running = new TungoService({
    name: service.name,
    tungo,
    makeChain:
      chain === undefined
        ? undefined
        : (mask) => chainFor(chain, config, service.place, { mask, loopTo }),
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
