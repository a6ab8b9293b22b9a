/**
 * The tungo service: a device, a core, and carriers for what comes out of it.
 *
 * Life: `start` opens and configures the device (addresses, MTU, routes), makes the core and the
 * pump. A lost device is opened again with its addresses and routes; a trap of the core (DOS-7)
 * closes all flows and starts a new core, three within a minute end the process. `close` resets the
 * flows and takes the device away; its addresses and routes go with it.
 */
import * as abi from "../../../assembly/abi.ts";
import type { ServiceRouter } from "../../chain/router.ts";
import { formatCidr } from "../../config/net.ts";
import type { TungoOptions } from "../../config/tungo.ts";
import { endpointText, type FlowFacts, type FlowRouter } from "../../core/flow.ts";
import { loadCore } from "../../core/load.ts";
import { Pump } from "../../core/pump.ts";
import { defect, messageOf, TsgostError } from "../../errors.ts";
import type { MaskFunction } from "../../proto/ws.ts";
import { ONCE_PER_MS, type Logger } from "../../log.ts";
import type { Native } from "../../sys/native.ts";
import type { LoopGuard } from "../../sys/loop-guard.ts";
import type { Poller } from "../../sys/poll.ts";
import type { Device } from "../../tun/device.ts";
import type { CoreNumbers } from "../metrics.ts";
import { ChainedFlow, ChainedMapping, type ChainContext } from "./chained.ts";
import { DialDeadlines } from "./deadline.ts";
import { DirectMapping } from "./direct-udp.ts";
import { DirectFlow, type DirectContext } from "./direct.ts";
import { EchoHost } from "./echo.ts";
import { onlyGroups } from "./groups.ts";
import { outsOf } from "./outs.ts";
import { RuledMapping, openRuled } from "./ruled.ts";
import { captureOf, writeCapture } from "./trap-report.ts";

/** Opens, configures and wraps the device; called again when it was lost. */
export type DeviceMaker = (again: boolean) => Device;

export interface TungoServiceOptions {
  readonly name: string;
  readonly tungo: TungoOptions;
  /** The service's rules and chain; it closes it. */
  readonly router: ServiceRouter;
  /** Whose bytes are in this buffer is masked by that function. */
  addMask(buffer: ArrayBufferLike, mask: MaskFunction): void;
  readonly native: Native;
  readonly poller: Poller;
  readonly log: Logger;
  readonly guard: LoopGuard;
  readonly openDevice: DeviceMaker;
  /** The service cannot go on. */
  onFatal(error: TsgostError): void;
  /** A lost device is there again, with its addresses and routes. */
  onBack(): void;
}

/** What the `ready` line says of a service. */
export interface ServiceInfo {
  readonly name: string;
  readonly device?: string;
  readonly addresses: readonly string[];
  readonly mtu?: number;
}

const REOPEN_MS_MIN = 100;
const REOPEN_MS_MAX = 5000;
const TRAP_WINDOW_MS = 60_000;
const TRAP_LIMIT = 3;

export class TungoService {
  readonly #options: TungoServiceOptions;
  readonly #log: Logger;
  #device: Device | undefined;
  #pump: Pump | undefined;
  #echo: EchoHost | undefined;
  #dials: DialDeadlines | undefined;
  #region = -1;
  #reopenMs = REOPEN_MS_MIN;
  #reopenTimer: NodeJS.Timeout | undefined;
  #traps: number[] = [];
  #closed = false;

  constructor(options: TungoServiceOptions) {
    this.#options = options;
    this.#log = options.log;
  }

  start(): ServiceInfo {
    const device = this.#options.openDevice(false);
    this.#device = device;
    try {
      this.#startCore(device);
    } catch (error) {
      this.#drop();
      throw error;
    }
    return {
      name: this.#options.name,
      device: device.name,
      addresses: this.#options.tungo.nets.map(formatCidr),
      mtu: device.mtu,
    };
  }

  /** Counters of the core, for statistics and logs. */
  stats(): Record<string, number> {
    return this.#pump?.core.stats() ?? {};
  }

  /** The same with gauges, for metrics; undefined while there is no core. */
  numbers(): CoreNumbers | undefined {
    const core = this.#pump?.core;
    if (core === undefined) return undefined;
    const device = this.#device?.name ?? this.#options.tungo.name;
    return { device, counters: core.stats(), gauges: core.gauges() };
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#reopenTimer);
    if (this.#pump?.stopped === false) this.#pump.stop();
    this.#log.debug("counters", { stats: this.stats() });
    this.#drop();
    this.#options.router.close();
  }

  #drop(): void {
    this.#dials?.close();
    this.#dials = undefined;
    this.#echo?.close();
    this.#echo = undefined;
    this.#device?.close();
    this.#device = undefined;
    if (this.#region >= 0) this.#options.native.detach(this.#region);
    this.#region = -1;
    this.#pump = undefined;
  }

  #startCore(device: Device): void {
    const core = loadCore(this.#words(device));
    const { native } = this.#options;
    this.#region = native.attach(core.buffer);
    // Bytes in the core's memory are masked there.
    this.#options.addMask(core.buffer, (bytes, key, phase) => {
      core.x.xorMask(bytes.byteOffset, bytes.length, key, phase);
    });
    device.attach({ buffer: core.buffer, region: this.#region });
    this.#pump = new Pump({
      core,
      device,
      makeRouter: (pump) => {
        const router = this.#makeRouter(pump);
        const { multicastGroups } = this.#options.tungo;
        return multicastGroups.length === 0 ? router : onlyGroups(router, multicastGroups, core);
      },
      turns: this.#options.poller,
      onFailure: (error) => this.#failed(error),
    });
  }

  #makeRouter(pump: Pump): FlowRouter {
    const { native, poller, tungo, guard, router } = this.#options;
    const dials = new DialDeadlines(tungo.dialTimeoutMs);
    this.#dials = dials;
    const direct: DirectContext = {
      native,
      poller,
      region: this.#region,
      pump,
      dials,
      queueBytes: tungo.udpQueueBytes,
      guard,
      looped: (own, destination) => this.#looped(own, destination),
      outs: outsOf(tungo.interface, tungo.soMark),
      ...(router.hasBypass ? { mayHear: (source) => router.mayHear(source) } : {}),
      dialFailed: (flow, errno) => this.#dialFailed(flow, `errno ${errno}`),
    };
    const echo = new EchoHost(direct);
    this.#echo = echo;
    if (!router.hasChain && router.isPlain) {
      return {
        open: (flow) => new DirectFlow(direct, flow),
        mapping: (flow) => new DirectMapping(direct, flow),
        echo: (record) => echo.request(record),
      };
    }
    const chained: ChainContext = {
      router,
      pump,
      queueBytes: tungo.udpQueueBytes,
      dialFailed: (flow, error) => this.#dialFailed(flow, messageOf(error)),
    };
    const ruled = router.isPlain ? undefined : { router, direct, chained };
    return {
      open: (flow) =>
        ruled === undefined ? new ChainedFlow(chained, flow) : openRuled(ruled, flow),
      mapping: (flow) =>
        ruled === undefined ? new ChainedMapping(chained, flow) : new RuledMapping(ruled, flow),
      // A chain carries no echo: with `echo=host` asked for all the same, pings go out directly.
      echo: (record) => echo.request(record),
    };
  }

  #looped(own: string, destination: string): void {
    this.#log.once(`loop ${own}`, ONCE_PER_MS, {
      level: "error",
      message:
        `the route to ${destination} leads into the own device ${own}, so it is refused; ` +
        "give interface=DEVICE or so_mark=N, or exclude the address",
    });
  }

  #dialFailed(flow: FlowFacts, cause: string): void {
    if (!this.#log.enabled("debug")) return;
    this.#log.debug("dial failed", {
      client: endpointText(flow.remoteHost, flow.remotePort),
      dst: endpointText(flow.localHost, flow.localPort),
      cause,
    });
  }

  #words(device: Device): Map<number, number> {
    const { tungo } = this.#options;
    const words = new Map(tungo.words);
    words.set(abi.CFG_MTU, device.mtu);
    words.set(abi.CFG_VNET_BYTES, device.vnetBytes);
    words.set(abi.CFG_OFFLOADS, device.offloads);
    return words;
  }

  /** The pump stopped: the device was lost, or the core trapped. */
  #failed(error: unknown): void {
    const pump = this.#pump;
    if (this.#closed || pump === undefined) return;
    const lost = error instanceof TsgostError && error.code === "TSGOST_ERR_DEVICE_LOST";
    if (lost && this.#options.tungo.tunFd !== undefined) {
      this.#end(error);
      return;
    }
    if (lost) {
      this.#log.error("device lost, opening it again", { cause: messageOf(error) });
    } else {
      this.#log.error("the core failed, starting a new one", {
        cause: messageOf(error),
        stack: error instanceof Error ? error.stack : undefined,
        packets: this.#lastPackets(pump),
      });
      if (!this.#mayRestart(error)) return;
    }
    pump.end();
    this.#drop();
    this.#reopen();
  }

  /** Where the last packets were written to, or why they were not. */
  #lastPackets(pump: Pump): string {
    try {
      const { buffer } = pump.core;
      const { name, vnetBytes } = this.#device ?? { name: "", vnetBytes: 0 };
      const originUs = performance.timeOrigin * 1000;
      return writeCapture(captureOf(buffer, { name, vnetBytes }, originUs));
    } catch (error) {
      return `not written: ${messageOf(error)}`;
    }
  }

  #mayRestart(error: unknown): boolean {
    const now = performance.now();
    this.#traps = [...this.#traps.filter((at) => now - at < TRAP_WINDOW_MS), now];
    if (this.#traps.length < TRAP_LIMIT) return true;
    this.#end(defect(`the core failed ${TRAP_LIMIT} times in a minute`, error));
    return false;
  }

  #end(error: TsgostError): void {
    this.#pump?.end();
    this.#drop();
    this.#options.onFatal(error);
  }

  #reopen(): void {
    if (this.#closed) return;
    try {
      const device = this.#options.openDevice(true);
      this.#device = device;
      this.#startCore(device);
      this.#reopenMs = REOPEN_MS_MIN;
      this.#log.info("device is back", { device: device.name });
      this.#options.onBack();
    } catch (error) {
      this.#drop();
      this.#log.once("reopen", ONCE_PER_MS, {
        level: "error",
        message: "the device could not be opened again, trying on",
        fields: { cause: messageOf(error) },
      });
      this.#reopenTimer = setTimeout(() => this.#reopen(), this.#reopenMs);
      this.#reopenMs = Math.min(2 * this.#reopenMs, REOPEN_MS_MAX);
    }
  }
}
