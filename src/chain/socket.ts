/**
 * The first socket of a chain, and every socket a server opens towards a target: names resolved,
 * each address tried (RFC 8305's staggering), bound to a device, mark or local address where asked.
 *
 * Names go through the system's resolver (getaddrinfo), whose own packets are not bound to the
 * device: who routes everything into a TUN gives proxies as addresses, or excludes the resolver.
 */
import { lookup } from "node:dns/promises";
import { Socket, connect, isIP } from "node:net";
import { networkInterfaces } from "node:os";
import { openBoundSocket } from "./bound-socket.ts";
import { ChainError, type Party, abortError, asChainError } from "./errors.ts";
import { joinHostPort } from "../config/net.ts";

/** Answers the name of our own device that a packet to `address` with this mark would enter. */
export type LoopCheck = (address: string, mark: number | undefined) => string | undefined;

export interface DialOptions {
  /** IP text or a name; "" = this machine. */
  readonly host: string;
  readonly port: number;
  /** Device names or local addresses, comma-separated, tried in order; `!` ends the list. */
  readonly device?: string | undefined;
  readonly mark?: number | undefined;
  /** Names the own device that a socket without a device would enter; undefined: none. */
  readonly loopTo?: LoopCheck | undefined;
  readonly signal: AbortSignal;
  /** Who is blamed for a failure. */
  readonly party: Party;
}

/** Before the next address is tried beside the one that has not answered. */
const STAGGER_MS = 250;
const ADDRESSES_MAX = 16;
const NAME_BYTES_MAX = 253;
const KEEPALIVE_MS = 60_000;

export interface Way {
  readonly address: string;
  readonly port: number;
  readonly local: string | undefined;
  readonly device: string | undefined;
  readonly mark: number | undefined;
}

/** Connects; the socket allows half-open, has no delay, and is paused. Throws ChainError. */
export async function dialTcp(options: DialOptions): Promise<Socket> {
  const what = joinHostPort(options.host, options.port);
  try {
    options.signal.throwIfAborted();
    const addresses = await withSignal(resolveHost(options.host), options.signal);
    const ways = waysTo(addresses, options);
    for (const way of ways) refuseLoop(way, options);
    const socket = await firstOf(ways, connectWay, options.signal);
    socket.setNoDelay(true);
    socket.setKeepAlive(true, KEEPALIVE_MS);
    return socket;
  } catch (error) {
    if (options.signal.aborted) throw abortError(options.signal, options.party, what);
    throw asChainError(error, options.party, what);
  }
}

/** The addresses of a host, IPv4 and IPv6 as the system orders them. */
export async function resolveHost(host: string): Promise<readonly string[]> {
  if (host === "") return ["127.0.0.1", "::1"];
  if (isIP(host) !== 0) return [host];
  if (host.length > NAME_BYTES_MAX || /[\s\0/\\]/.test(host)) {
    const error = new Error("not a host name");
    throw Object.assign(error, { code: "ENOTFOUND" });
  }
  const found = await lookup(host, { all: true, verbatim: true });
  return found.slice(0, ADDRESSES_MAX).map((entry) => entry.address);
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
export function refuseLoop({ address, device, mark }: Way, { loopTo, party }: DialOptions): void {
  const own = device === undefined ? loopTo?.(address, mark) : undefined;
  if (own === undefined) return;
  const message =
    `the route to ${address} leads into the own device ${own}; ` +
    "give interface=DEVICE or so_mark=N, or exclude the address";
  throw new ChainError(message, { reason: "prohibited", party });
}

/** Each address by each local end that fits it. */
export function waysTo(addresses: readonly string[], options: DialOptions): readonly Way[] {
  const { port, mark } = options;
  const locals = (options.device ?? "").split(",").filter((part) => part.trim() !== "");
  if (locals.length === 0) {
    return addresses.map((address) => ({
      address,
      port,
      mark,
      local: undefined,
      device: undefined,
    }));
  }
  const ways: Way[] = [];
  for (const part of locals) {
    const name = part.trim().replace(/!$/, "");
    for (const address of addresses) {
      const way = wayBy(name, address, options);
      if (way !== undefined) ways.push(way);
    }
    if (part.trim().endsWith("!")) break;
  }
  if (ways.length === 0) {
    const message = `no address of the destination fits interface ${options.device ?? ""}`;
    throw new ChainError(message, { reason: "network-unreachable", party: options.party });
  }
  return ways;
}

function wayBy(name: string, address: string, options: DialOptions): Way | undefined {
  const { port, mark } = options;
  const family = isIP(name);
  if (family !== 0) {
    if (family !== isIP(address)) return undefined;
    return { address, port, mark, local: name, device: undefined };
  }
  if (networkInterfaces()[name] === undefined && !isLikelyDevice(name)) return undefined;
  // A device cannot reach this machine's own addresses; they need no way out either.
  const device = isLocal(address) ? undefined : name;
  return { address, port, mark, local: undefined, device };
}

/** A device without addresses is not in networkInterfaces(): let the kernel judge. */
function isLikelyDevice(name: string): boolean {
  return /^[^\s/:]{1,15}$/.test(name);
}

/** Loopback, link-local and multicast: not global unicast. */
function isLocal(address: string): boolean {
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
