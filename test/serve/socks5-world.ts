/** A SOCKS5 service on loopback over a router of its own, and a client that plays bytes. */
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import { openDirectDatagrams } from "../../src/chain/direct-datagrams.ts";
import { SocketStream } from "../../src/chain/socket-stream.ts";
import { dialTcp } from "../../src/chain/socket.ts";
import type { Chain, Endpoint, Router, UpDatagrams } from "../../src/chain/types.ts";
import type { ServiceConfig } from "../../src/config/model.ts";
import type { Logger } from "../../src/log.ts";
import type { Handler, HandlerContext } from "../../src/serve/handler.ts";
import { listen } from "../../src/serve/listen.ts";
import { Socks5Handler } from "../../src/serve/socks5.ts";
import type { Authenticator } from "../../src/types.ts";
import {
  type ServiceParts,
  emptyConfig,
  pauseMs,
  portOf,
  quiet,
  serviceOf,
} from "../chain/world.ts";

export type Rule = (host: string, port: number) => boolean;

const never: Rule = () => false;

/** Dials from here, or through a chain, what `refuses` lets pass. */
export function routerOf(refuses: Rule = never, chain?: Chain): Router {
  const hit = ({ host, port }: Endpoint): { bypass: string; rule: string } | undefined =>
    refuses(host, port) ? { bypass: "test", rule: host } : undefined;
  return {
    connect: async (destination, { signal }) =>
      chain === undefined
        ? new SocketStream(await dialTcp({ ...destination, signal, party: "destination" }))
        : chain.connect(destination, { signal }),
    datagrams: async ({ signal }) => {
      const carrier =
        chain === undefined ? openDirectDatagrams({}) : await chain.datagrams({ signal });
      const ruled: UpDatagrams = {
        attach: (handler) => carrier.attach(handler),
        send: (data, to) => hit(to) !== undefined || carrier.send(data, to),
        close: () => carrier.close(),
      };
      return ruled;
    },
    refuses: (_network, destination) => hit(destination),
    directWay: () => ({}),
    close: () => undefined,
  };
}

export interface Socks5Parts extends ServiceParts {
  readonly log?: Logger;
  readonly router?: Router;
  readonly authenticator?: Authenticator;
}

export interface Running {
  readonly port: number;
  close(): Promise<void>;
}

export type Make = (service: ServiceConfig, context: HandlerContext) => Handler;

export async function startSocks5(
  parts: Socks5Parts,
  make: Make = (service, context) => new Socks5Handler(service, context),
): Promise<Running> {
  const service = serviceOf(parts);
  const log = parts.log ?? quiet;
  const { auth } = parts;
  const byAuth: Authenticator | undefined =
    auth === undefined
      ? undefined
      : {
          accepts: (given) => given?.username === auth.username && given.password === auth.password,
        };
  const handler = make(service, {
    log,
    router: parts.router ?? routerOf(),
    authenticator: parts.authenticator ?? byAuth,
    isLoopback: true,
  });
  const listener = await listen(service, emptyConfig, {
    log,
    accept: (accepted) => handler.handle(accepted),
  });
  return {
    port: portOf(listener.address),
    close: async () => {
      await listener.close();
      handler.close();
    },
  };
}

const ANSWER_MS = 4000;

/** A client that plays a script. */
export class Player {
  readonly socket: Socket;
  #got = Buffer.alloc(0);
  isOver = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => (this.#got = Buffer.concat([this.#got, chunk])));
    for (const event of ["error", "end", "close"]) socket.on(event, () => (this.isOver = true));
  }

  static async open(port: number): Promise<Player> {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    await once(socket, "connect");
    return new Player(socket);
  }

  write(hex: string): void {
    this.socket.write(Buffer.from(hex, "hex"));
  }

  /** Waits until as many bytes are there, or the end, or a moment passed. */
  async read(bytes: number): Promise<string> {
    const endMs = performance.now() + ANSWER_MS;
    while (this.#got.length < bytes && !this.isOver && performance.now() < endMs) await pauseMs(2);
    const part = this.#got.subarray(0, bytes);
    this.#got = this.#got.subarray(part.length);
    return part.toString("hex");
  }

  /** What was not read. */
  get rest(): string {
    return this.#got.toString("hex");
  }

  async over(): Promise<boolean> {
    const endMs = performance.now() + ANSWER_MS;
    while (!this.isOver && performance.now() < endMs) await pauseMs(2);
    return this.isOver;
  }

  close(): void {
    this.socket.destroy();
  }
}
