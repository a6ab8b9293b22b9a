/**
 * The first socket of a chain, and every socket a server opens towards a target: names resolved,
 * each address tried (RFC 8305's staggering), bound to a device, mark or local address where asked.
 *
 * A list of devices and addresses is tried in order, each with all addresses of the destination; an
 * entry that does not exist fails, and `!` behind one ends the list there.
 *
 * Names that no table or resolver of ours knows go through the system's (getaddrinfo), whose own
 * packets are not bound to the device: who routes everything into a TUN gives proxies as addresses,
 * configures a resolver, or excludes the system's.
 */
import { lookup } from "node:dns/promises";
import { Socket, connect, isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { openBoundSocket } from "./bound-socket.ts";
import { ChainError, type Party, abortError, asChainError } from "./errors.ts";
import { joinHostPort } from "../config/net.ts";
import { loadNative } from "../sys/addon.ts";
import type { Names } from "../types.ts";

/**
 * Answers the name of our own device that a packet to `address` would enter, with this mark and
 * from the address that its socket is bound to.
 */
export type LoopCheck = (
  address: string,
  mark: number | undefined,
  local?: string,
) => string | undefined;

/** The way out of this machine. */
export interface LocalEnd {
  /** Device names or local addresses, comma-separated, tried in order; `!` ends the list. */
  readonly device?: string | undefined;
  /** SO_MARK. */
  readonly mark?: number | undefined;
}

/** How datagrams leave. */
export interface DirectWay extends LocalEnd {
  /** Asked before the system. */
  readonly names?: Names | undefined;
  /** Names the own device that a socket without a device would enter; undefined: none. */
  readonly loopTo?: LoopCheck | undefined;
}

export interface DialOptions extends DirectWay {
  /** IP text or a name; "" = this machine. */
  readonly host: string;
  readonly port: number;
  readonly signal: AbortSignal;
  /** Who is blamed for a failure. */
  readonly party: Party;
}

/** Before the next address is tried beside the one that has not answered. */
const STAGGER_MS = 250;
const ADDRESSES_MAX = 16;
const NAME_BYTES_MAX = 253;
const KEEPALIVE_MS = 60_000;
const DEVICE_NAME = /^[^\s/:]{1,15}$/;

/** One socket: where to, and by what. */
export interface Way {
  readonly address: string;
  readonly port: number;
  readonly local: string | undefined;
  readonly device: string | undefined;
  readonly mark: number | undefined;
}

/** Connects; the socket allows half-open, has no delay, and is paused. Throws ChainError. */
export async function dialTcp(options: DialOptions): Promise<Socket> {
  const { host, names, signal } = options;
  const what = joinHostPort(host, options.port);
  try {
    signal.throwIfAborted();
    const addresses = await withSignal(resolveHost(host, names, signal), signal);
    const socket = await dialBy(localsOf(options.device), addresses, options);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    return socket;
  } catch (error) {
    if (signal.aborted) throw abortError(signal, options.party, what);
    throw asChainError(error, options.party, what);
  }
}

/** By each device or address of the list in turn; throws the first failure. */
async function dialBy(
  locals: readonly (string | undefined)[],
  addresses: readonly string[],
  options: DialOptions,
): Promise<Socket> {
  let failure: unknown;
  for (const local of locals) {
    try {
      const ways = waysBy(local, addresses, options);
      for (const way of ways) refuseLoop(way, options);
      return await firstOf(ways, connectWay, options.signal);
    } catch (error) {
      failure ??= error;
      if (options.signal.aborted) break;
    }
  }
  throw failure;
}

/** All ways, in the order of the list; throws what is wrong with it if there is none. */
export function waysTo(addresses: readonly string[], options: DialOptions): readonly Way[] {
  let failure: unknown;
  const ways: Way[] = [];
  for (const local of localsOf(options.device)) {
    try {
      ways.push(...waysBy(local, addresses, options));
    } catch (error) {
      failure ??= error;
    }
  }
  if (ways.length === 0) throw failure;
  return ways;
}

/** The entries of an `interface` list up to one that ends it; undefined: the system chooses. */
export function localsOf(list: string | undefined): readonly (string | undefined)[] {
  const parts = (list ?? "").split(",").map((part) => part.trim());
  const given = parts.filter((part) => part !== "" && part !== "!");
  if (given.length === 0) return [undefined];
  const strict = given.findIndex((part) => part.endsWith("!"));
  const upTo = strict < 0 ? given : given.slice(0, strict + 1);
  return upTo.map((part) => part.replace(/!$/, ""));
}

/** `auto` stands for the address that the client reached. */
export function localFor(local: LocalEnd, localIp: string | undefined): LocalEnd {
  if (local.device === undefined || localIp === undefined || isUnspecified(localIp)) return local;
  const device = local.device.replace(/(^|,)\s*auto(?=\s*(!|,|$))/g, `$1${localIp}`);
  return { ...local, device };
}

function isUnspecified(ip: string): boolean {
  return ip === "" || ip === "0.0.0.0" || ip === "::";
}

/** Throws if there is no device of that name. */
export function demandDevice(name: string): void {
  // One without addresses is not in networkInterfaces(): the kernel knows it all the same.
  if (networkInterfaces()[name] !== undefined) return;
  if (DEVICE_NAME.test(name) && loadNative().ifIndex(name) > 0) return;
  const error = new Error(`there is no network device ${JSON.stringify(name)} (ENODEV)`);
  throw Object.assign(error, { code: "ENODEV" });
}

/** The addresses of a host: what `names` say, else IPv4 and IPv6 as the system orders them. */
export async function resolveHost(
  host: string,
  names?: Names,
  signal?: AbortSignal,
): Promise<readonly string[]> {
  if (host === "") return ["127.0.0.1", "::1"];
  if (isIP(host) !== 0) return [host];
  const own = await names?.resolve(host, signal ?? new AbortController().signal);
  if (own !== undefined) return own.slice(0, ADDRESSES_MAX);
  if (host.length > NAME_BYTES_MAX || /[\s\0/\\]/.test(host)) {
    const error = new Error("not a host name");
    throw Object.assign(error, { code: "ENOTFOUND" });
  }
  const found = await lookup(host, { all: true, verbatim: true });
  return found.slice(0, ADDRESSES_MAX).map((entry) => entry.address);
}

/** The first that is responsible for a name answers. */
export function inOrder(first: Names | undefined, then: Names | undefined): Names | undefined {
  if (first === undefined || then === undefined) return first ?? then;
  return {
    resolve: async (host, signal) =>
      (await first.resolve(host, signal)) ?? then.resolve(host, signal),
  };
}

/** Rejects when the signal aborts first; the promise itself goes on unheard. */
export function withSignal<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = (): void => {
      reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    };
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    const off = (): void => signal.removeEventListener("abort", onAbort);
    promise.then(resolve, reject).finally(off);
  });
}

/** Fails closed where our own socket would come back through our own device. */
export function refuseLoop(
  { address, device, mark, local }: Way,
  { loopTo, party }: DialOptions,
): void {
  const own = device === undefined ? loopTo?.(address, mark, local) : undefined;
  if (own === undefined) return;
  const message =
    `the route to ${address} leads into the own device ${own}; ` +
    "give interface=DEVICE or so_mark=N, or exclude the address";
  throw new ChainError(message, { reason: "prohibited", party });
}

/** Each address by one device or local address; addresses of another family do not fit. */
function waysBy(
  local: string | undefined,
  addresses: readonly string[],
  { port, mark, party }: DialOptions,
): readonly Way[] {
  if (local !== undefined && isIP(local) === 0) {
    demandDevice(local);
    // A device cannot reach this machine's own addresses; they need no way out either.
    return addresses.map((address) => {
      const device = isLocal(address) ? undefined : local;
      return { address, port, mark, local: undefined, device };
    });
  }
  const fitting = addresses.filter((one) => local === undefined || isIP(one) === isIP(local));
  if (fitting.length === 0) {
    const message = `no address of the destination fits interface ${local ?? ""}`;
    throw new ChainError(message, { reason: "network-unreachable", party });
  }
  return fitting.map((address) => ({ address, port, mark, local, device: undefined }));
}

/** Loopback, link-local and multicast: not global unicast. */
export function isLocal(address: string): boolean {
  return /^(127\.|169\.254\.|22[4-9]\.|23\d\.|::1$|fe[89ab]|ff)/i.test(address);
}

function connectWay(way: Way, signal: AbortSignal): Promise<Socket> {
  if (way.device !== undefined || way.mark !== undefined) return openBoundSocket(way, signal);
  return new Promise<Socket>((resolve, reject) => {
    const socket = connect({
      host: way.address,
      port: way.port,
      allowHalfOpen: true,
      ...(way.local === undefined ? {} : { localAddress: way.local }),
    });
    const onAbort = (): void => {
      socket.destroy(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    };
    const onError = (error: Error): void => {
      signal.removeEventListener("abort", onAbort);
      reject(error);
    };
    signal.addEventListener("abort", onAbort, { once: true });
    socket.once("error", onError);
    socket.once("connect", () => {
      signal.removeEventListener("abort", onAbort);
      socket.off("error", onError);
      resolve(socket);
    });
  });
}

/**
 * Starts the candidates one after the other, the next as soon as one fails or the stagger passed;
 * the first success wins and the others are given up. Throws the first failure if none succeeds.
 */
async function firstOf(
  ways: readonly Way[],
  attempt: (way: Way, signal: AbortSignal) => Promise<Socket>,
  signal: AbortSignal,
): Promise<Socket> {
  return new Promise<Socket>((resolve, reject) => {
    const stop = new AbortController();
    let next = 0;
    let running = 0;
    let isSettled = false;
    let failure = new Error("no address answered");
    let hasFailed = false;
    let timer: NodeJS.Timeout | undefined;
    const settle = (act: () => void): void => {
      isSettled = true;
      clearTimeout(timer);
      signal.removeEventListener("abort", onAbort);
      stop.abort(new Error("another address was faster"));
      act();
    };
    const onAbort = (): void => {
      settle(() => reject(signal.reason instanceof Error ? signal.reason : new Error("aborted")));
    };
    const start = (): void => {
      clearTimeout(timer);
      const way = ways[next++];
      if (way === undefined) return;
      running++;
      if (next < ways.length) timer = setTimeout(start, STAGGER_MS);
      attempt(way, stop.signal).then(
        (socket) => {
          running--;
          if (isSettled) socket.destroy();
          else settle(() => resolve(socket));
        },
        (error: unknown) => {
          running--;
          if (!hasFailed && error instanceof Error) failure = error;
          hasFailed = true;
          if (isSettled) return;
          if (next < ways.length) start();
          else if (running === 0) settle(() => reject(failure));
        },
      );
    };
    signal.addEventListener("abort", onAbort, { once: true });
    if (ways.length === 0) settle(() => reject(new Error("the name has no address")));
    else start();
  });
}
