/** A client that plays the steps of a wire vector against a server. */
import { once } from "node:events";
import { type Socket, connect } from "node:net";
import * as assert from "uvu/assert";
import { type Turn, matches } from "../chain/vectors.ts";
import { pauseMs } from "../chain/world.ts";

const ANSWER_MS = 4000;

/** A client that plays a script. */
export class Player {
  readonly #socket: Socket;
  #got = Buffer.alloc(0);
  isOver = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => (this.#got = Buffer.concat([this.#got, chunk])));
    socket.on("error", () => (this.isOver = true));
    socket.on("end", () => (this.isOver = true));
    socket.on("close", () => (this.isOver = true));
  }

  static async open(port: number): Promise<Player> {
    const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    await once(socket, "connect");
    return new Player(socket);
  }

  write(hex: string): void {
    this.#socket.write(Buffer.from(hex, "hex"));
  }

  /** Waits until as many bytes are there, or the end, or a moment passed. */
  async read(bytes: number): Promise<string> {
    const endMs = performance.now() + ANSWER_MS;
    while (this.#got.length < bytes && !this.isOver && performance.now() < endMs) await pauseMs(2);
    const part = this.#got.subarray(0, bytes);
    this.#got = this.#got.subarray(part.length);
    return part.toString("hex");
  }

  /** Takes all that is there once it is `enough`, or at the end, or after a moment. */
  async takeWhen(enough: (got: Buffer) => boolean): Promise<Buffer> {
    const endMs = performance.now() + ANSWER_MS;
    while (!enough(this.#got) && !this.isOver && performance.now() < endMs) await pauseMs(2);
    return Buffer.from(this.take(), "hex");
  }

  /** All that is there. */
  take(): string {
    const hex = this.rest;
    this.#got = Buffer.alloc(0);
    return hex;
  }

  get rest(): string {
    return this.#got.toString("hex");
  }

  async over(): Promise<void> {
    const endMs = performance.now() + ANSWER_MS;
    while (!this.isOver && performance.now() < endMs) await pauseMs(5);
  }

  close(): void {
    this.#socket.destroy();
  }
}

export async function playPlain(turns: readonly Turn[], player: Player): Promise<void> {
  for (const turn of turns) {
    if (turn.from === "client") {
      player.write(turn.hex);
      continue;
    }
    const got = await player.read(turn.hex.length / 2);
    assert.ok(matches(got, turn.hex), `got ${got}, wanted ${turn.hex}`);
  }
}
