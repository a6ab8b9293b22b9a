/**
 * How a nameserver is reached: by sockets of our own, bound to the device and mark of what the
 * look-up serves and refused where they would enter a device of ours; or through a chain.
 */
import { type Socket as UdpSocket, createSocket } from "node:dgram";
import type { Duplex } from "node:stream";
import { isIP } from "node:net";
import { duplexOf } from "../chain/duplex.ts";
import {
  type DialOptions,
  type LoopCheck,
  type Way,
  dialTcp,
  refuseLoop,
  waysTo,
} from "../chain/socket.ts";
import type { Chain, Endpoint, UpDatagrams } from "../chain/types.ts";
import { messageOf } from "../errors.ts";
import { ipBytes } from "../proto/address.ts";
import { loadNative } from "../sys/addon.ts";
import type { Names } from "../types.ts";
import { dnsError, reasonOfAbort } from "./query.ts";

/** Looks at a datagram; what it answers, if anything, is the result. */
export type Accept<T> = (bytes: Uint8Array) => T | undefined;

export interface Reach {
  /** A connection to the nameserver; the caller destroys it. */
  stream(signal: AbortSignal): Promise<Duplex>;
  /** Sends a datagram, again after a while, until `accept` takes one that comes back. */
  datagram<T>(bytes: Uint8Array, accept: Accept<T>, signal: AbortSignal): Promise<T>;
  close(): void;
}

export interface LocalEnds {
  /** Devices or addresses, comma-separated, as `interface`. */
  readonly device?: string | undefined;
  readonly mark?: number | undefined;
  readonly loopTo?: LoopCheck | undefined;
}

/** When a datagram that was not answered is sent again. */
const RESEND_MS = [1000, 2000] as const;

/** Calls `send` now and as RESEND_MS says; answers how to stop. */
function resending(send: () => void): () => void {
  send();
  const timers = RESEND_MS.map((ms) => setTimeout(send, ms));
  return () => {
    for (const timer of timers) clearTimeout(timer);
  };
}

/** `bootstrap` resolves the nameserver's own name. */
export function directReach(endpoint: Endpoint, ends: LocalEnds, bootstrap?: Names): Reach {
  return new DirectReach(endpoint, ends, bootstrap);
}

class DirectReach implements Reach {
  readonly #endpoint: Endpoint;
  readonly #ends: LocalEnds;
  readonly #bootstrap: Names | undefined;

  constructor(endpoint: Endpoint, ends: LocalEnds, bootstrap: Names | undefined) {
    this.#endpoint = endpoint;
    this.#ends = ends;
    this.#bootstrap = bootstrap;
  }

  async stream(signal: AbortSignal): Promise<Duplex> {
    let failure: unknown;
    for (const host of await this.#addresses(signal)) {
      try {
        return await dialTcp(this.#dialOptions(host, signal));
      } catch (error) {
        if (signal.aborted) throw error;
        failure ??= error;
      }
    }
    throw failure;
  }

  async datagram<T>(bytes: Uint8Array, accept: Accept<T>, signal: AbortSignal): Promise<T> {
    const [address = ""] = await this.#addresses(signal);
    const options = this.#dialOptions(address, signal);
    let failure: unknown;
    for (const way of waysTo([address], options)) {
      refuseLoop(way, options);
      let socket: UdpSocket;
      try {
        socket = await openConnected(way);
      } catch (error) {
        failure ??= error;
        continue;
      }
      return askOver(socket, bytes, accept, signal);
    }
    throw failure;
  }

  close(): void {
    // Sockets live as long as a question.
  }

  async #addresses(signal: AbortSignal): Promise<readonly string[]> {
    const { host } = this.#endpoint;
    return (await this.#bootstrap?.resolve(host, signal)) ?? [host];
  }

  #dialOptions(host: string, signal: AbortSignal): DialOptions {
    return { host, port: this.#endpoint.port, ...this.#ends, signal, party: "proxy" };
  }
}

/** A socket of its own for each question: the kernel picks its port and checks the source. */
function openConnected(way: Way): Promise<UdpSocket> {
  const family = isIP(way.address) === 6 ? 6 : 4;
  const socket = createSocket({ type: family === 6 ? "udp6" : "udp4" });
  return new Promise<UdpSocket>((resolve, reject) => {
    const fail = (error: Error): void => {
      socket.close();
      reject(error);
    };
    socket.once("error", fail);
    const onConnect = (): void => {
      socket.off("error", fail);
      resolve(socket);
    };
    const connect = (): void => {
      socket.connect(way.port, way.address, onConnect);
    };
    if (way.device === undefined && way.mark === undefined) {
      if (way.local === undefined) connect();
      else socket.bind({ address: way.local, port: 0, exclusive: true }, connect);
      return;
    }
    try {
      const local = way.local === undefined ? undefined : ipBytes(way.local);
      const fd = loadNative().socket(family, "dgram", {
        ...(way.device === undefined ? {} : { device: way.device }),
        ...(way.mark === undefined ? {} : { mark: way.mark }),
        ...(local === undefined ? {} : { localAddress: local }),
        localPort: 0,
      });
      socket.bind({ fd }, connect);
    } catch (error) {
      fail(error instanceof Error ? error : new Error(messageOf(error)));
    }
  });
}

function askOver<T>(
  socket: UdpSocket,
  bytes: Uint8Array,
  accept: Accept<T>,
  signal: AbortSignal,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    let stop = (): void => undefined;
    const finish = (act: () => void): void => {
      stop();
      signal.removeEventListener("abort", onAbort);
      socket.removeAllListeners();
      socket.on("error", () => undefined);
      socket.close();
      act();
    };
    const fail = (error: Error): void => {
      finish(() => reject(error));
    };
    const onAbort = (): void => {
      fail(reasonOfAbort(signal));
    };
    signal.addEventListener("abort", onAbort);
    socket.on("error", fail);
    socket.on("message", (data) => {
      const taken = accept(data);
      if (taken !== undefined) finish(() => resolve(taken));
    });
    stop = resending(() => {
      socket.send(bytes, (error) => {
        if (error !== null) socket.emit("error", error);
      });
    });
    if (signal.aborted) onAbort();
  });
}

/** The chain stays the caller's. */
export function chainReach(endpoint: Endpoint, chain: Chain): Reach {
  return new ChainReach(endpoint, chain);
}

/** A carrier that nobody uses is closed after this time. */
const IDLE_MS = 30_000;

interface Waiting {
  take(bytes: Uint8Array): void;
  fail(error: Error): void;
}

interface Carrier {
  readonly datagrams: UpDatagrams;
  readonly waiting: Set<Waiting>;
  idle: NodeJS.Timeout | undefined;
}

class ChainReach implements Reach {
  readonly #endpoint: Endpoint;
  readonly #chain: Chain;
  readonly #closed = new AbortController();
  #carrier: Promise<Carrier> | undefined;

  constructor(endpoint: Endpoint, chain: Chain) {
    this.#endpoint = endpoint;
    this.#chain = chain;
  }

  async stream(signal: AbortSignal): Promise<Duplex> {
    return duplexOf(await this.#chain.connect(this.#endpoint, { signal }));
  }

  async datagram<T>(bytes: Uint8Array, accept: Accept<T>, signal: AbortSignal): Promise<T> {
    const carrier = await this.#open();
    return new Promise<T>((resolve, reject) => {
      let stop = (): void => undefined;
      const leave = (): void => {
        stop();
        signal.removeEventListener("abort", onAbort);
        carrier.waiting.delete(waiting);
        if (carrier.waiting.size > 0) return;
        carrier.idle = setTimeout(() => carrier.datagrams.close(), IDLE_MS);
        carrier.idle.unref();
      };
      const waiting: Waiting = {
        take: (data) => {
          const taken = accept(data);
          if (taken === undefined) return;
          leave();
          resolve(taken);
        },
        fail: (error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = (): void => {
        waiting.fail(reasonOfAbort(signal));
      };
      clearTimeout(carrier.idle);
      carrier.waiting.add(waiting);
      signal.addEventListener("abort", onAbort);
      if (signal.aborted) onAbort();
      else stop = resending(() => void carrier.datagrams.send(bytes, this.#endpoint));
    });
  }

  close(): void {
    this.#closed.abort(dnsError("CLOSED", "the resolver was closed"));
    void this.#carrier?.then(({ datagrams }) => datagrams.close()).catch(() => undefined);
  }

  /** The one carrier of all questions, which outlives the one that opened it. */
  #open(): Promise<Carrier> {
    this.#carrier ??= this.#make().catch((error: unknown) => {
      this.#carrier = undefined;
      throw error;
    });
    return this.#carrier;
  }

  async #make(): Promise<Carrier> {
    const datagrams = await this.#chain.datagrams({ signal: this.#closed.signal });
    const carrier: Carrier = { datagrams, waiting: new Set(), idle: undefined };
    const failAll = (error: Error): void => {
      for (const waiting of [...carrier.waiting]) waiting.fail(error);
    };
    datagrams.attach({
      message: (data, source) => {
        if (!this.#isFromServer(source)) return;
        for (const waiting of [...carrier.waiting]) waiting.take(data);
      },
      unreachable: (_destination, reason) => {
        failAll(dnsError("FAILED", `the nameserver cannot be reached: ${reason}`));
      },
      close: (error) => {
        this.#carrier = undefined;
        clearTimeout(carrier.idle);
        failAll(error ?? dnsError("CLOSED", "the chain closed its datagrams"));
      },
    });
    return carrier;
  }

  /** Proxies tell the source as an address; a name that was sent cannot be compared with it. */
  #isFromServer(source: Endpoint): boolean {
    const { host, port } = this.#endpoint;
    if (source.port !== port) return false;
    return isIP(host) === 0 || sameAddress(source.host, host);
  }
}

function sameAddress(one: string, other: string): boolean {
  const [first, second] = [ipBytes(one), ipBytes(other)];
  return first !== undefined && second !== undefined && Buffer.compare(first, second) === 0;
}
