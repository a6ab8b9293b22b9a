/** A smux session of ours and, at the other end of a loopback connection, a scripted peer. */
import { once } from "node:events";
import { type AddressInfo, type Socket, connect, createServer } from "node:net";
import * as assert from "uvu/assert";
import { WebSocket } from "ws";
import { MuxSession, type MuxOptions } from "../../src/chain/mux-session.ts";
import { muxSettings } from "../../src/chain/mux-settings.ts";
import { SocketStream } from "../../src/chain/socket-stream.ts";
import type { Transport } from "../../src/chain/types.ts";
import type { Metadata } from "../../src/config/model.ts";
import { CMD_PSH, SmuxDecoder, type SmuxVersion, encodeHeader } from "../../src/proto/smux.ts";
import { eventually } from "./world.ts";

/** The other end of a session: bytes out, bytes in. */
export interface Peer {
  write(bytes: Buffer): void;
  got: Buffer;
}

export function peerOf(socket: WebSocket | Socket): Peer {
  const peer: Peer = {
    got: Buffer.alloc(0),
    write: (bytes) => {
      if (socket instanceof WebSocket) socket.send(bytes);
      else socket.write(bytes);
    },
  };
  const take = (data: Buffer): void => {
    peer.got = Buffer.concat([peer.got, data]);
  };
  socket.on(socket instanceof WebSocket ? "message" : "data", take);
  return peer;
}

export interface PairParts extends Partial<MuxOptions> {
  readonly version?: SmuxVersion;
  /** More `mux.…` keys. */
  readonly keys?: Metadata;
}

export interface Pair {
  readonly session: MuxSession;
  readonly peer: Peer;
  /** The peer's socket. */
  readonly far: Socket;
  close(): void;
}

export async function sessionPair(parts: PairParts): Promise<Pair> {
  const { version = 1, keys = {}, ...options } = parts;
  const server = createServer({ allowHalfOpen: true }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const near = connect({ port: (server.address() as AddressInfo).port, allowHalfOpen: true });
  const [far] = (await once(server, "connection")) as [Socket];
  far.on("error", () => undefined);
  const settings = muxSettings({ "mux.version": version, ...keys }, "");
  const session = new MuxSession(new SocketStream(near), { opener: false, settings, ...options });
  const close = (): void => {
    session.close();
    far.destroy();
    server.close();
  };
  return { session, peer: peerOf(far), far, close };
}

/** Frames in words: `SYN 3`, `3 hello`, `UPD 3 5 65536`. */
export function framesOf(version: SmuxVersion, bytes: Buffer): string[] {
  const decoder = new SmuxDecoder(version);
  const said: string[] = [];
  for (let offset = 0; offset < bytes.length;) {
    offset = decoder.decode(bytes, offset, {
      control: (command, id) => said.push(`${["SYN", "FIN", "", "NOP"][command] ?? ""} ${id}`),
      data: (id, part) => said.push(`${id} ${Buffer.from(part).toString("latin1")}`),
      update: (id, consumed, window) => said.push(`UPD ${id} ${consumed} ${window}`),
    });
  }
  return said;
}

export const head = (command: number, id: number, length = 0, version: 1 | 2 = 1): Buffer =>
  Buffer.from(encodeHeader(version, command, id, length));
export const psh = (id: number, data: Buffer | string, version: 1 | 2 = 1): Buffer => {
  const bytes = Buffer.from(data);
  return Buffer.concat([head(CMD_PSH, id, bytes.length, version), bytes]);
};

/** A listening session that keeps the streams it accepted. */
export async function listening(
  parts: Parameters<typeof sessionPair>[0] = {},
): Promise<Pair & { streams: Transport[]; errors: (Error | undefined)[] }> {
  const streams: Transport[] = [];
  const errors: (Error | undefined)[] = [];
  const pair = await sessionPair({
    accept: (stream) => streams.push(stream) > 0,
    onClose: (error) => errors.push(error),
    ...parts,
  });
  return { ...pair, streams, errors };
}

/** What our side said since the last time, without its NOPs. */
export function said(pair: Pair, version: 1 | 2 = 1): string[] {
  const frames = framesOf(version, pair.peer.got).filter((frame) => !frame.startsWith("NOP"));
  pair.peer.got = Buffer.alloc(0);
  return frames;
}

/** Our side says this, and nothing else. */
export async function tells(pair: Pair, frame: string): Promise<void> {
  await eventually(() => pair.peer.got.length > 0 && framesOf(1, pair.peer.got).includes(frame));
  assert.equal(said(pair), [frame]);
}

export async function firstStream(pair: Pair & { streams: Transport[] }): Promise<Transport> {
  await eventually(() => pair.streams.length > 0);
  const [stream] = pair.streams;
  if (stream === undefined) throw new Error("no stream");
  return stream;
}

/** The error a paused stream ends with. */
export function closeOf(stream: Transport): Promise<Error | undefined> {
  return new Promise((resolve) => {
    stream.pause();
    stream.attach({ data: () => undefined, end: () => undefined, close: resolve });
  });
}
