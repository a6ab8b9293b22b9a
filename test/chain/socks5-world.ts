/** A server for the tests of the connector `socks5`, which plays bytes, and a chain to it. */
import { once } from "node:events";
import { type AddressInfo, type Socket, createServer } from "node:net";
import { ChainError } from "../../src/chain/errors.ts";
import type { Chain, UpDatagrams } from "../../src/chain/types.ts";
import { matches } from "./vectors.ts";
import { type NodeParts, chainOf } from "./world.ts";

/** Plays the server: each entry is what it takes (hex) and what it says then. */
export class Script {
  readonly #server = createServer({ allowHalfOpen: true });
  readonly #turns: readonly (readonly [string, string])[][];
  readonly failures: string[] = [];
  readonly sockets: Socket[] = [];
  count = 0;

  /** One list of turns a connection; the last serves all further ones. */
  constructor(...turns: (readonly [string, string])[][]) {
    this.#turns = turns;
  }

  async listen(): Promise<number> {
    this.#server.on("connection", (socket) => {
      this.sockets.push(socket);
      const turns = this.#turns[Math.min(this.count++, this.#turns.length - 1)] ?? [];
      this.#play(socket, [...turns]);
    });
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return (this.#server.address() as AddressInfo).port;
  }

  #play(socket: Socket, turns: (readonly [string, string])[]): void {
    let got = "";
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Buffer) => {
      got += chunk.toString("hex");
      for (;;) {
        const [wanted, said] = turns[0] ?? ["", ""];
        if (turns.length === 0 || got.length < wanted.length) return;
        if (!matches(got.slice(0, wanted.length), wanted)) this.failures.push(`${got} ${wanted}`);
        got = got.slice(wanted.length);
        turns.shift();
        if (said === "close") socket.end();
        else if (said === "reset") socket.resetAndDestroy();
        else if (said !== "") socket.write(Buffer.from(said, "hex"));
      }
    });
  }

  close(): void {
    for (const socket of this.sockets) socket.destroy();
    this.#server.close();
  }
}

export const auth = { username: "user", password: "pass" };
export const HELLO = ["050100", "0500"] as const;
export const TO = { host: "192.0.2.10", port: 22 };
export const CONNECT = "05010001c000020a0016";
export const OK = "05000001000000000000";

export interface World {
  readonly chain: Chain;
  readonly script: Script;
  close(): void;
}

export async function world(script: Script, node: Partial<NodeParts> = {}): Promise<World> {
  const addr = `127.0.0.1:${await script.listen()}`;
  const notls = { connectorMetadata: { notls: true } };
  const chain = chainOf([{ connector: "socks5", ...notls, ...node, addr }]);
  return {
    chain,
    script,
    close: () => {
      chain.close();
      script.close();
    },
  };
}

export async function failureOf(promise: Promise<unknown>): Promise<ChainError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof ChainError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

export function collect(carrier: UpDatagrams): string[] {
  const got: string[] = [];
  carrier.attach({
    message: (data, { host, port }) => got.push(`${Buffer.from(data).toString()} ${host} ${port}`),
    close: () => got.push("closed"),
  });
  return got;
}
