/**
 * A core that breaks: forced here by overwriting what it shares with its host, for no packet can do
 * it. Its flows end, the last packets are in a file, and a new core serves.
 */
import { existsSync, readFileSync, statSync, unlinkSync } from "node:fs";
import * as assert from "uvu/assert";
import * as abi from "../../assembly/abi.ts";
import type { ServiceRouter } from "../../src/chain/router.ts";
import type { StreamHandler, UpStream } from "../../src/chain/types.ts";
import { tungoOptions } from "../../src/config/tungo.ts";
import type { CoreExports } from "../../src/core/core.ts";
import { type TrapState, guardTraps } from "../../src/core/trap.ts";
import type { TsgostError } from "../../src/errors.ts";
import type { Logger } from "../../src/log.ts";
import { TungoService } from "../../src/serve/tungo/service.ts";
import type { LoopGuard } from "../../src/sys/loop-guard.ts";
import type { Native } from "../../src/sys/native.ts";
import type { Poller } from "../../src/sys/poll.ts";
import type { DeviceMemory } from "../../src/tun/device.ts";
import { MemoryDevice } from "../../src/tun/memory.ts";
import { start } from "../config/read.ts";
import { CLIENT_4, SERVER_4, expectTcp, tcpPacket, type TcpSeen } from "../kit/packet.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/trap");

/** Five times the bound. */
const RESTART_MS = 5000;

/** A device whose reader can be told to hand the core a pointer to nowhere. */
class TrapDevice extends MemoryDevice {
  readonly seen: TcpSeen[] = [];
  #buffer: ArrayBuffer | undefined;
  willTrap = false;

  constructor() {
    super({ name: "trap0" });
    this.onPacket((packet) => this.seen.push(expectTcp(packet)));
  }

  override attach(memory: DeviceMemory): void {
    this.#buffer = memory.buffer;
    super.attach(memory);
  }

  override read(max: number): number {
    const count = super.read(max);
    if (this.willTrap && count > 0 && this.#buffer !== undefined) {
      new DataView(this.#buffer).setUint32(abi.RX_BASE, 0xffff_f000, true);
    }
    return count;
  }

  /** The answer with these flags, when it is there. */
  async answer(flags: string): Promise<TcpSeen> {
    for (const end = performance.now() + RESTART_MS; performance.now() < end;) {
      const found = this.seen.find((seen) => seen.flags === flags);
      if (found !== undefined) return found;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`no ${flags} among ${this.seen.map((seen) => seen.flags).join(" ")}`);
  }
}

/** Says back what it is told. */
class EchoStream implements UpStream {
  handler: StreamHandler | undefined;
  resets = 0;

  attach(handler: StreamHandler): void {
    this.handler = handler;
  }

  write(chunks: readonly Uint8Array[], done: (error?: Error) => void): void {
    const copies = chunks.map((chunk) => chunk.slice());
    setImmediate(() => {
      for (const copy of copies) this.handler?.data(copy);
      done();
    });
  }

  pause(): void {
    // It holds nothing back.
  }

  resume(): void {
    // It holds nothing back.
  }

  end(): void {
    this.handler?.end();
  }

  reset(): void {
    this.resets++;
  }

  destroy(): void {
    // Nothing is open.
  }
}

interface World {
  readonly service: TungoService;
  readonly devices: TrapDevice[];
  readonly streams: EchoStream[];
  readonly errors: { message: string; fields: Readonly<Record<string, unknown>> }[];
  readonly fatal: TsgostError[];
}

function makeWorld(): World {
  const devices: TrapDevice[] = [];
  const streams: EchoStream[] = [];
  const errors: World["errors"] = [];
  const fatal: TsgostError[] = [];
  const quiet = (): undefined => undefined;
  const log = {
    error: (message: string, fields: Readonly<Record<string, unknown>> = {}) => {
      errors.push({ message, fields });
    },
    debug: quiet,
    info: quiet,
    warn: quiet,
    once: quiet,
    enabled: () => false,
  } as unknown as Logger;
  const router = {
    hasChain: true,
    isPlain: true,
    connect: () => {
      const stream = new EchoStream();
      streams.push(stream);
      return Promise.resolve(stream);
    },
    close: quiet,
  } as unknown as ServiceRouter;
  const args = ["-L", "tungo://:0?net=192.0.2.1/24", "-F", "relay://192.0.2.99:1"];
  const { options: tungo } = tungoOptions(start(args).config.services[0]!);
  const service = new TungoService({
    name: "s",
    tungo,
    router,
    addMask: quiet,
    native: { attach: () => 0, detach: quiet } as unknown as Native,
    poller: { inTurn: false, endOfTurn: () => quiet } as unknown as Poller,
    log,
    guard: {} as unknown as LoopGuard,
    openDevice: () => {
      const device = new TrapDevice();
      devices.push(device);
      return device;
    },
    onFatal: (error) => fatal.push(error),
    onBack: quiet,
  });
  service.start();
  return { service, devices, streams, errors, fatal };
}

const ENDS = { src: CLIENT_4, dst: SERVER_4, sport: 40_000, dport: 80 };

/** A connection up to its first echo. */
async function converse(device: TrapDevice, sport: number): Promise<TcpSeen> {
  const ends = { ...ENDS, sport };
  device.push(tcpPacket({ ...ends, seq: 100, flags: "S", options: { mss: 1400 } }));
  const { seq } = await device.answer("SA");
  const payload = Buffer.from("hello");
  device.push(tcpPacket({ ...ends, seq: 101, ack: seq + 1, flags: "PA", payload }));
  const echo = await device.answer("PA");
  assert.is(Buffer.from(echo.payload).toString(), "hello");
  return echo;
}

function trap(device: TrapDevice, echo: TcpSeen): void {
  device.willTrap = true;
  const payload = Buffer.from("last words");
  device.push(tcpPacket({ ...ENDS, seq: 106, ack: echo.end, flags: "PA", payload }));
}

async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = performance.now() + RESTART_MS; performance.now() < end;) {
    if (holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error(`${what} did not come`);
}

test("DOS-7: a trap resets the flows, leaves the last packets, and a new core serves", async () => {
  const world = makeWorld();
  const echo = await converse(world.devices[0]!, 40_000);
  trap(world.devices[0]!, echo);
  await until("a new device", () => world.devices.length === 2);
  assert.is(world.streams[0]!.resets, 1, "upstream is reset");
  const failure = world.errors[0]!;
  assert.is(failure.message, "the core failed, starting a new one");
  assert.match(String(failure.fields["cause"]), /out of bounds/);

  // The client's next segment finds nobody, and is told so.
  const device = world.devices[1]!;
  device.push(tcpPacket({ ...ENDS, seq: 106, ack: echo.end, flags: "A" }));
  assert.is((await device.answer("R")).seq, echo.end);
  await converse(device, 40_001);

  const file = String(failure.fields["packets"]);
  assert.is(statSync(file).mode & 0o777, 0o600);
  const capture = readFileSync(file);
  unlinkSync(file);
  assert.is(capture.readUInt32BE(0), 0x0a0d0d0a);
  const syn = tcpPacket({ ...ENDS, seq: 100, flags: "S", options: { mss: 1400 } });
  assert.ok(capture.includes(Buffer.from(syn)), "the SYN is in the capture");
  assert.ok(capture.includes(Buffer.from("hello")));
  world.service.close();
});

test("DOS-7: three traps in a minute end the service, and files stay few", async () => {
  const world = makeWorld();
  for (let round = 0; round < 3; round++) {
    const device = world.devices[round]!;
    trap(device, await converse(device, 40_000));
    await until("a failure", () => world.errors.length === round + 1);
    await until("an end", () => world.devices.length > round + 1 || world.fatal.length > 0);
  }
  assert.is(world.devices.length, 3);
  assert.is(world.fatal[0]?.exitCode, 70);
  const files = world.errors.map(({ fields }) => String(fields["packets"]));
  assert.ok(files.filter((file) => existsSync(file)).length <= 4);
  for (const file of files) unlinkSync(file);
  world.service.close();
});

test("DOS-7: a call of a carrier that traps answers stale, and so do all after it", () => {
  const told: unknown[] = [];
  const state: TrapState = { trapped: undefined, onTrap: (error) => told.push(error) };
  let calls = 0;
  const broken = new Error("unreachable");
  const exports = {
    accept: () => 0,
    recvConsume: () => {
      calls++;
      throw broken;
    },
    flush: () => 1,
  } as unknown as CoreExports;
  const x = guardTraps(exports, state);
  assert.is(x.accept(1, 0), 0);
  assert.is(x.flush(0), 1);
  assert.is(x.recvConsume(1, 2, 3), abi.ERR_STALE);
  assert.is(x.recvConsume(1, 2, 3), abi.ERR_STALE);
  assert.is(x.accept(1, 0), abi.ERR_STALE);
  assert.throws(() => x.flush(0), /the core has trapped/);
  assert.equal([told, calls], [[broken], 1]);
});

test.run();
