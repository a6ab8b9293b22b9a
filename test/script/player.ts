/**
 * Plays a packet script on a core, in virtual time. What the core sends must be told by the script:
 * a packet that no line expects fails the step before which it came, one that is missing or late
 * fails its own line. Sequence and acknowledgement numbers are offsets in the two streams, 0 the
 * first byte; the bytes of both streams are known, so data is compared, too.
 */
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import { CORE_OPTIONS } from "../../src/core/options.ts";
import { pattern, sameBytes, seqAdd, seqDiff } from "../kit/bytes.ts";
import { CoreHarness, type CoreEvent, type Datagram, type Build } from "../kit/core.ts";
import { expectIcmp, expectTcp, expectUdp, parsePacket, withVnet } from "../kit/packet.ts";
import { CLIENT_4, CLIENT_6, SERVER_4, SERVER_6, type TcpOptions } from "../kit/packet.ts";
import { tcpPacket } from "../kit/packet.ts";
import { otherPackets } from "./packets.ts";
import type { Script, Step, Words } from "./parse.ts";

export interface Stage {
  readonly build: Build;
  readonly family: 4 | 6;
  readonly vnetBytes: 0 | 10 | 12;
}

const UP = pattern(400_000, 5);
const DOWN = pattern(400_000, 6);
const ISS = 0xffff_ff00;

function constant(name: string): number {
  const value = (abi as Readonly<Record<string, number>>)[name];
  if (value === undefined) throw new Error(`abi.ts has no ${name}`);
  return value;
}

function coreOptions({ keys }: Words): Record<string, number> {
  const options: Record<string, number> = {};
  for (const [key, value] of keys) {
    if (CORE_OPTIONS.every((option) => option.key !== key)) throw new Error(`no option ${key}`);
    options[key] = /^\d/.test(value) ? Number(value) : constant(value);
  }
  return options;
}

export class Player {
  readonly #script: Script;
  readonly #stage: Stage;
  readonly #core: CoreHarness;
  readonly #ends: { src: string; dst: string; sport: number; dport: number };
  #waiting: { atUs: number; bytes: Uint8Array }[] = [];
  #events: CoreEvent[] = [];
  #datagrams: Datagram[] = [];
  #handle = 0;
  #next = -1;
  #peerIss = 0;
  #ack = -1;
  #tsecr = 0;
  #read = 0;
  #written = 0;
  /** Everything that the core sent. */
  readonly sent: Uint8Array[] = [];

  constructor(script: Script, stage: Stage) {
    this.#script = script;
    this.#stage = stage;
    const { build, family, vnetBytes } = stage;
    this.#core = new CoreHarness({ build, vnetBytes, options: coreOptions(script.core) });
    const [src, dst] = family === 4 ? [CLIENT_4, SERVER_4] : [CLIENT_6, SERVER_6];
    this.#ends = { src, dst, sport: 40_000, dport: 80 };
  }

  play(): void {
    for (const step of this.#script.steps) {
      try {
        this.#play(step);
      } catch (error) {
        throw new Error(`line ${step.line}, "${step.text}": ${String(error)}`, { cause: error });
      }
    }
    this.#nothingWaits();
    this.#core.exports.closeAll(this.#core.nowUs);
    this.#collect();
    for (const { flags, handle } of this.#events) {
      if ((flags & (abi.EV_CLOSED | abi.EV_MAPPING_CLOSED)) !== 0)
        this.#core.exports.release(handle);
    }
    this.#core.tearDown();
  }

  #play({ afterUs, verb, words }: Step): void {
    this.#advance(afterUs);
    if (verb === "<") return this.#expectPacket(words);
    if (verb === "expect") return this.#expectNumbers(words);
    if (verb === "event") return this.#expectEvents(words);
    if (verb === "got") return this.#expectDatagrams(words);
    this.#nothingWaits();
    if (verb === ">") this.#send(words);
    else this.#host(words);
    this.#collect();
  }

  /* ---- time ---- */

  #advance(us: number): void {
    const end = this.#core.nowUs + us;
    for (let at = this.#core.deadline(); at <= end; at = this.#core.deadline()) {
      if (us === 0) break;
      this.#core.poll(at);
      this.#collect();
    }
    if (us > 0) this.#core.poll(end);
    this.#collect();
  }

  #collect(): void {
    this.#takeEvents();
    for (const bytes of this.#core.flush()) {
      this.sent.push(bytes);
      this.#waiting.push({ atUs: this.#core.nowUs, bytes });
    }
    this.#takeEvents();
  }

  #takeEvents(): void {
    for (const event of this.#core.events()) {
      if ((event.flags & abi.EV_OPEN) !== 0 && this.#handle === 0) this.#handle = event.handle;
      this.#events.push(event);
    }
  }

  #nothingWaits(): void {
    const [first] = this.#waiting;
    if (first === undefined) return;
    const { proto, l4 } = parsePacket(first.bytes, this.#core.framing);
    const what =
      proto === 6 ? this.#describe(first.bytes) : `protocol ${proto}, ${l4.length} bytes`;
    throw new Error(`before it, the core sent ${what}`);
  }

  #describe(bytes: Uint8Array): string {
    const { flags, seq, ack, payload, window } = expectTcp(bytes, this.#core.framing);
    const theirs = seqDiff(seq, seqAdd(this.#peerIss, 1));
    const ours = seqDiff(ack, seqAdd(ISS, 1));
    return `${flags} seq=${theirs} ack=${ours} len=${payload.length} win=${window}`;
  }

  /* ---- from the client ---- */

  #send({ bare, keys }: Words): void {
    const [kind = ""] = bare;
    if (/^[a-z]/.test(kind)) {
      const packets = otherPackets({ bare, keys }, this.#ends, this.#stage.family);
      return this.#ingest(packets);
    }
    const [from = 0, to = from] = (keys.get("sport") ?? "").split("..").map(Number);
    if (from === 0) return this.#ingest([this.#segment(kind, keys, this.#ends.sport)]);
    for (let sport = from; sport <= to; sport++) {
      this.#ingest([this.#segment(kind, keys, sport)]);
    }
  }

  #ingest(packets: readonly Uint8Array[]): void {
    const { vnetBytes } = this.#core;
    const framed = packets.map((packet) =>
      vnetBytes === 0 ? packet : withVnet(packet, { bytes: vnetBytes }),
    );
    this.#datagrams.push(...this.#core.send(...framed));
  }

  #segment(kind: string, keys: Words["keys"], sport: number): Uint8Array {
    const flags = kind === "-" ? "" : kind;
    const isSyn = flags.includes("S");
    const number = (key: string, otherwise: number): number => Number(keys.get(key) ?? otherwise);
    const seq = number("seq", isSyn && !flags.includes("A") ? -1 : this.#next);
    const len = number("len", 0);
    const filled = new Uint8Array(len).fill(number("fill", 0));
    const payload = keys.has("fill") ? filled : UP.slice(Math.max(seq, 0), Math.max(seq, 0) + len);
    const end = seq + len + (isSyn ? 1 : 0) + (flags.includes("F") ? 1 : 0);
    const isOurs = sport === this.#ends.sport && !flags.includes("R");
    if (isOurs) this.#next = Math.max(this.#next, end);
    return tcpPacket({
      ...this.#ends,
      sport,
      flags,
      seq: seqAdd(ISS, 1 + seq),
      ack: flags.includes("A") ? seqAdd(this.#peerIss, 1 + number("ack", this.#ack)) : 0,
      window: number("win", Number(this.#script.client.keys.get("window") ?? 65_535)),
      options: this.#options(isSyn, keys),
      payload,
      ...(keys.get("sum") === "bad" ? { checksum: "bad" as const } : {}),
      ...(keys.has("urg") ? { urgent: number("urg", 0) } : {}),
      ...(keys.has("dport") ? { dport: number("dport", 80) } : {}),
    });
  }

  #options(isSyn: boolean, keys: Words["keys"]): TcpOptions {
    const own = this.#script.client;
    const options: TcpOptions = {};
    if (isSyn) {
      if (own.keys.has("mss")) options.mss = Number(own.keys.get("mss"));
      if (own.keys.has("wscale")) options.wscale = Number(own.keys.get("wscale"));
      if (own.bare.includes("sack")) options.sackOk = true;
    }
    if (keys.has("ts")) options.ts = [Number(keys.get("ts")), this.#tsecr];
    const sack = keys.get("sack");
    if (sack !== undefined) {
      const first = seqAdd(this.#peerIss, 1);
      options.sack = sack.split(",").map((range) => {
        const [left = 0, right = 0] = range.split("-").map(Number);
        return [seqAdd(first, left), seqAdd(first, right)] as const;
      });
    }
    return options;
  }

  /* ---- from the host ---- */

  #host({ bare }: Words): void {
    const [call = "", argument] = bare;
    const core = this.#core;
    const handle = this.#handle;
    if (call === "accept") core.accept(handle);
    else if (call === "reject") core.reject(handle, constant(`REJECT_${argument ?? "RST"}`));
    else if (call === "shutdown") core.shutdown(handle);
    else if (call === "abort") core.abort(handle);
    else if (call === "release") core.release(handle);
    else if (call === "read") this.#readBytes(Number(argument));
    else if (call === "write") {
      const end = this.#written + Number(argument);
      assert.is(core.write(handle, DOWN.subarray(this.#written, end)), Number(argument), "written");
      this.#written = end;
    } else if (call === "answer") {
      assert.is(core.stage(...this.#datagrams.splice(0)), Number(argument));
    } else throw new Error(`the host has no call ${call}`);
  }

  #readBytes(count: number): void {
    const bytes = this.#core.read(this.#handle, count);
    const expected = UP.subarray(this.#read, this.#read + count);
    assert.is(bytes.length, count, "bytes to read");
    assert.ok(sameBytes(bytes, expected), "bytes as the client sent them");
    this.#read += count;
  }

  /* ---- what is expected ---- */

  #expectPacket({ bare, keys }: Words): void {
    const first = this.#waiting.shift();
    if (first === undefined) throw new Error("the core sent nothing");
    assert.is(first.atUs, this.#core.nowUs, "when it came, in us");
    const [kind = ""] = bare;
    if (kind === "icmp") this.#expectIcmp(first.bytes, keys);
    else if (kind === "echo" || kind === "udp") this.#expectAnswer(kind, first.bytes, keys);
    else this.#expectSegment(first.bytes, kind, keys);
  }

  #expectIcmp(bytes: Uint8Array, keys: Words["keys"]): void {
    const { type, code, word } = expectIcmp(bytes, this.#core.framing);
    assert.is(`${type}/${code}`, keys.get(`v${this.#stage.family}`));
    if (keys.has("word")) assert.is(word, Number(keys.get("word")));
  }

  #expectAnswer(kind: string, bytes: Uint8Array, keys: Words["keys"]): void {
    const read = kind === "echo" ? expectIcmp : expectUdp;
    assert.is(read(bytes, this.#core.framing).payload.length, Number(keys.get("len")));
  }

  #expectSegment(bytes: Uint8Array, flags: string, keys: Words["keys"]): void {
    const seen = expectTcp(bytes, this.#core.framing);
    if (flags === "SA") this.#peerIss = seen.seq;
    const theirs = seqDiff(seen.seq, seqAdd(this.#peerIss, 1));
    const list = seen.sack.map(([l, r]) =>
      [l, r].map((edge) => seqDiff(edge, seqAdd(ISS, 1))).join("-"),
    );
    const facts = new Map<string, string>([
      ["seq", String(theirs)],
      ["rawseq", String(seen.seq)],
      ["ack", String(seqDiff(seen.ack, seqAdd(ISS, 1)))],
      ["len", String(seen.payload.length)],
      ["win", String(seen.window)],
      ["mss", String(seen.mss)],
      ["wscale", String(seen.wscale)],
      ["sackok", String(seen.sackOk)],
      ["ecr", String(seen.ts?.[1])],
      ["sack", list.join(",")],
      ["sport", String(seen.dport)],
    ]);
    assert.is(seen.flags, flags, this.#describe(bytes));
    for (const [key, value] of new Map([["len", "0"], ...keys])) {
      assert.is(facts.get(key), value, `${key} of ${this.#describe(bytes)}`);
    }
    if (seen.payload.length > 0) {
      assert.ok(sameBytes(seen.payload, DOWN.subarray(theirs, theirs + seen.payload.length)));
    }
    if (!flags.includes("R") && theirs <= this.#ack + 1) {
      this.#ack = Math.max(this.#ack, seqDiff(seen.end, seqAdd(this.#peerIss, 1)));
    }
    this.#tsecr = seen.ts?.[0] ?? 0;
  }

  #expectNumbers({ keys }: Words): void {
    for (const [name, value] of keys) {
      const is = name.startsWith("GAUGE_") ? this.#core.gauge(name) : this.#core.stat(name);
      assert.is(is, Number(value), name);
    }
  }

  #expectEvents({ bare: [name = "", code] }: Words): void {
    const all = this.#events.splice(0);
    if (name === "none") return assert.equal(all, []);
    const bit = constant(`EV_${name.toUpperCase()}`);
    const found = all.find(({ flags }) => (flags & bit) !== 0);
    if (found === undefined) throw new Error(`no event ${name}`);
    if (code !== undefined) assert.is(found.code, constant(`CLOSE_${code}`));
    for (const { flags, handle } of all) {
      if ((flags & (abi.EV_CLOSED | abi.EV_MAPPING_CLOSED)) !== 0) this.#core.release(handle);
    }
  }

  #expectDatagrams({ bare: [sizes = "none"] }: Words): void {
    const got = this.#datagrams.map(({ payload }) => payload);
    assert.is(got.map(({ length }) => length).join(",") || "none", sizes);
    for (const payload of got) assert.ok(sameBytes(payload, pattern(payload.length, 9)));
    if (sizes === "none") this.#datagrams = [];
  }
}
