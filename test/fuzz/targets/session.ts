/**
 * Whole sessions over a transport in memory: smux (src/chain/mux-session.ts) with streams that are
 * read, paused, written, ended and given up at random, WebSocket streams, and both sides of the
 * WebSocket upgrade (ws-dialer.ts, listen-ws.ts).
 */
import { BaseStream } from "../../../src/chain/base-stream.ts";
import { MUX_DEFAULTS } from "../../../src/chain/mux-settings.ts";
import { MuxSession } from "../../../src/chain/mux-session.ts";
import { NodeMemory } from "../../../src/chain/memory.ts";
import type { NodeContext, StreamHandler, Transport } from "../../../src/chain/types.ts";
import { acceptOf, wsDialer } from "../../../src/chain/ws-dialer.ts";
import { WsStream } from "../../../src/chain/ws-stream.ts";
import { ChainError } from "../../../src/chain/errors.ts";
import type { NodeConfig } from "../../../src/config/model.ts";
import type { Random } from "../../kit/random.ts";
import { SILENT } from "../../bypass/kit.ts";
import { type Target, Log, check, checkEqual, randomOf, splitsOf } from "../target.ts";
import { bytesOf } from "./parts.ts";
import { FRAME_WORDS, randomFrames } from "./smux.ts";
import { ws } from "./ws.ts";

const ticks = async (): Promise<void> => {
  for (let round = 0; round < 4; round++) await new Promise((resolve) => setImmediate(resolve));
};

/** The lower end: bytes are fed by hand, writes are kept and end when they are told to. */
class Below extends BaseStream {
  readonly written: Uint8Array[] = [];
  readonly #waiting: ((error?: Error) => void)[] = [];
  #takes = true;
  isGone = false;

  feed(piece: Uint8Array): void {
    this.deliver(piece);
  }

  finish(): void {
    this.deliverEnd();
  }

  /** Whether writes end at once. */
  set takes(value: boolean) {
    this.#takes = value;
    if (value) for (const done of this.#waiting.splice(0)) process.nextTick(done);
  }

  override write(chunks: readonly Uint8Array[], done: (error?: Error) => void): void {
    for (const chunk of chunks) this.written.push(chunk.slice());
    if (this.#takes) process.nextTick(done);
    else this.#waiting.push(done);
  }

  override end(): void {
    // Half-closed: reading goes on.
  }

  override reset(): void {
    this.#go();
  }

  override destroy(): void {
    this.#go();
  }

  #go(): void {
    if (this.isGone) return;
    this.isGone = true;
    process.nextTick(() => this.deliverClose());
  }

  protected override hold(): void {
    // What is fed is held above.
  }

  protected override release(): void {
    // What was fed is held above.
  }
}

/** A user that checks the order of what it is told: data, end, close, each in its time. */
class User implements StreamHandler {
  readonly parts: Uint8Array[] = [];
  end_ = 0;
  closes = 0;
  readonly stream: Transport;

  constructor(stream: Transport) {
    this.stream = stream;
    stream.attach(this);
  }

  data(chunk: Uint8Array): void {
    check(this.end_ === 0 && this.closes === 0, "data after the end");
    this.parts.push(chunk.slice());
  }

  end(): void {
    check(++this.end_ === 1 && this.closes === 0, "a second end, or one after close");
  }

  close(): void {
    check(++this.closes === 1, "a second close");
  }

  get text(): string {
    return `${Buffer.concat(this.parts).toString("latin1")} ${this.end_}`;
  }
}

interface MuxRun {
  readonly version: 1 | 2;
  readonly opener: boolean;
  readonly random: Random | undefined;
}

const STREAMS_MAX = 8;

async function runMux(pieces: readonly Uint8Array[], run: MuxRun): Promise<string> {
  const { version, opener, random } = run;
  const below = new Below();
  const users: User[] = [];
  const tally = { streams: 0 };
  let closes = 0;
  const settings = {
    ...MUX_DEFAULTS,
    version,
    keepaliveMs: 0,
    frameBytes: 100,
    receiveBytes: 2000,
    streamBytes: 1000,
    streamsMax: STREAMS_MAX,
  };
  const session = new MuxSession(below, {
    opener,
    settings,
    tally,
    accept(stream) {
      if (random?.chance(0.1) === true) return false;
      users.push(new User(stream));
      return true;
    },
    onClose() {
      check(++closes === 1, "a session closed twice");
    },
  });
  for (let at = 0; at < 2 && opener; at++) users.push(new User(session.open()));
  await ticks();
  for (const piece of pieces) {
    below.feed(piece);
    check(session.streamCount <= STREAMS_MAX, "too many streams");
    checkEqual(tally.streams, session.streamCount, "the tally is wrong");
    if (random !== undefined) await actAtRandom(random, session, users, below);
  }
  await ticks();
  if (random?.chance(0.5) === true) below.finish();
  await ticks();
  const isOver = session.isClosed;
  const told = users.map(({ text }) => text);
  for (const { stream } of users) stream.resume();
  session.close();
  below.takes = true;
  await ticks();
  checkEqual([tally.streams, closes, below.isGone], [0, 1, true], "something stays after the end");
  for (const user of users) check(user.closes === 1, "a stream was not told of its end");
  return JSON.stringify([isOver, told]);
}

async function actAtRandom(
  random: Random,
  session: MuxSession,
  users: User[],
  below: Below,
): Promise<void> {
  if (random.chance(0.3)) await new Promise((resolve) => setImmediate(resolve));
  if (random.chance(0.1)) below.takes = random.chance(0.5);
  if (random.chance(0.1) && session.hasRoom) users.push(new User(session.open()));
  if (random.chance(0.01)) session.drain();
  if (users.length === 0) return;
  const { stream } = random.pick(users);
  switch (random.below(8)) {
    case 0:
      stream.pause();
      break;
    case 1:
      stream.resume();
      break;
    case 2:
      stream.write([random.bytes(random.pick([0, 1, 300]))], () => undefined);
      break;
    case 3:
      if (random.chance(0.3)) stream.end();
      break;
    case 4:
      if (random.chance(0.2)) stream.reset();
      break;
    case 5:
      if (random.chance(0.2)) stream.destroy();
  }
}

export const muxSession: Target = {
  name: "mux-session",
  bytesMax: 6000,
  dictionary: FRAME_WORDS,
  generate(random) {
    const mode = random.below(4);
    const frames = randomFrames(random, (mode & 1) === 0 ? 1 : 2, 1 + random.below(30));
    return Uint8Array.from(Buffer.concat([Uint8Array.of(mode), frames]));
  },
  async run(input) {
    const mode = input[0] ?? 0;
    const run = { version: (mode & 1) === 0 ? 1 : 2, opener: (mode & 2) !== 0 } as const;
    const [whole = [], first = []] = splitsOf(input.subarray(1));
    const told = await runMux(whole, { ...run, random: undefined });
    const again = await runMux(first, { ...run, random: undefined });
    check(told === again, `a split tells otherwise: ${again} instead of ${told}`);
    await runMux(first, { ...run, random: randomOf(input) });
    const [isOver, texts] = JSON.parse(told) as [boolean, string[]];
    const ends = texts.map((text) => `${Math.min(text.length, 4)}${text.endsWith("1")}`);
    return `${mode & 3} ${isOver} ${ends.slice(0, 4).join(" ")}`;
  },
};

async function runWs(pieces: readonly Uint8Array[], server: boolean): Promise<string> {
  const below = new Below();
  const stream = new WsStream(below, { server });
  const user = new User(stream);
  await ticks();
  for (const piece of pieces) below.feed(piece);
  below.finish();
  await ticks();
  const told = user.text;
  stream.destroy();
  below.reset();
  await ticks();
  check(user.closes === 1, "a WebSocket stream was not told of its end");
  return told;
}

export const wsStream: Target = {
  ...ws,
  name: "ws-stream",
  async run(input) {
    const server = ((input[0] ?? 0) & 1) === 1;
    const texts = [];
    for (const pieces of splitsOf(input.subarray(1)).slice(0, 3)) {
      texts.push(await runWs(pieces, server));
    }
    for (const text of texts) checkEqual(text, texts[0], "a split tells otherwise");
    return `${server} ${Math.min(5, texts[0]?.length ?? 0)} ${texts[0]?.endsWith("1") === true}`;
  },
};

/** Stands in an answer for what only the request's key tells. */
const ACCEPT = "@ACCEPT@";
const NODE = {
  name: "n",
  addr: "h.example:80",
  dialer: { type: "ws", metadata: {} },
  connector: { type: "relay", metadata: {} },
  metadata: {},
  place: "-F",
} as unknown as NodeConfig;

async function upgrade(input: Uint8Array, cut: (bytes: Uint8Array) => Uint8Array[]): Promise<Log> {
  const log = new Log();
  const below = new Below();
  const context: NodeContext = {
    signal: new AbortController().signal,
    log: SILENT,
    memory: new NodeMemory(),
  };
  const dialling = wsDialer.handshake(below, NODE, context).then(
    (stream) => new User(stream),
    (error: unknown) => {
      if (!(error instanceof ChainError)) throw error;
      return undefined;
    },
  );
  const request = Buffer.concat(below.written).toString("latin1");
  const key = /^Sec-WebSocket-Key: (.*)\r$/m.exec(request)?.[1] ?? "";
  // In the head alone: the key is another one each time, and what follows is compared.
  const all = Buffer.from(input).toString("latin1");
  const end = all.indexOf("\r\n\r\n");
  const head = end < 0 ? all : all.slice(0, end);
  const text = head.replaceAll(ACCEPT, acceptOf(key)) + all.slice(head.length);
  for (const piece of cut(Buffer.from(text, "latin1"))) below.feed(piece);
  below.finish();
  const user = await dialling;
  await ticks();
  log.add(user === undefined ? "refused" : "upgraded", user?.text);
  if (user === undefined) check(below.isGone, "a refused upgrade leaves its connection");
  user?.stream.destroy();
  below.reset();
  await ticks();
  return log;
}

export const wsUpgrade: Target = {
  name: "ws-upgrade",
  bytesMax: 20_000,
  isText: true,
  dictionary: [
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.0 200 OK\r\n",
    "Upgrade: websocket\r\n",
    "Connection: keep-alive, Upgrade\r\n",
    `Sec-WebSocket-Accept: ${ACCEPT}\r\n`,
    "Sec-WebSocket-Extensions: x\r\n",
    "\r\n\r\n",
    "\r\n",
    ": ",
    Uint8Array.of(0x82, 1, 97),
  ],
  generate(random) {
    const lines = [
      "HTTP/1.1 101 Switching Protocols",
      "Upgrade: websocket",
      "Connection: Upgrade",
      `Sec-WebSocket-Accept: ${ACCEPT}`,
      ...(random.chance(0.3) ? ["X: y"] : []),
    ];
    const frame = random.pick(["", "\x82\x03abc", "\x88\x02\x03\x0d"]);
    return bytesOf(`${lines.join("\r\n")}\r\n\r\n${frame}`);
  },
  async run(input) {
    const whole = await upgrade(input, (bytes) => splitsOf(bytes)[0] ?? []);
    const cut = await upgrade(input, (bytes) => splitsOf(bytes)[1] ?? []);
    checkEqual(cut.entries, whole.entries, "a split tells otherwise");
    const lines = Buffer.from(input).toString("latin1").split("\n").length;
    return `${whole.shape} ${Math.min(9, lines)} ${whole.entries[0]?.length ?? 0}`;
  },
};
