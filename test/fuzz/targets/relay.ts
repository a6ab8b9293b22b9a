/** Relay: requests and replies, and datagrams in both framings (src/proto/relay.ts, relay-udp.ts). */
import { isDeepStrictEqual } from "node:util";
import type { SocksAddress } from "../../../src/proto/address.ts";
import {
  AssociatedReader,
  DATAGRAM_BYTES_MAX,
  DatagramReader,
  encodeAssociated,
  encodeDatagram,
} from "../../../src/proto/relay-udp.ts";
import {
  HEAD_BYTES,
  HeadReader,
  RelayFormatError,
  encodeReply,
  encodeRequest,
  parseReply,
  parseRequest,
} from "../../../src/proto/relay.ts";
import type { Random } from "../../kit/random.ts";
import { type Target, check, collect, sameInEverySplit } from "../target.ts";
import { randomAddress, randomText, withMode } from "./parts.ts";

const OWN = [RelayFormatError];
const MESSAGE_MAX = HEAD_BYTES + 65_535;

/** Whatever can be said again means the same. */
function checkAgain<T>(parsed: T, encode: () => Uint8Array, parse: (bytes: Uint8Array) => T): void {
  let again: Uint8Array;
  try {
    again = encode();
  } catch (error) {
    // Bytes that are no UTF-8 grow when they are written as such.
    if (error instanceof RangeError) return;
    throw error;
  }
  const second = parse(again);
  check(isDeepStrictEqual(parsed, second), `says ${JSON.stringify([parsed, second])}`);
}

const plain = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");

export function runHeads(input: Uint8Array, isReply: boolean): string {
  const log = sameInEverySplit(input, OWN, (pieces, told) => {
    const make = () => {
      const reader = new HeadReader();
      return {
        push: (piece: Uint8Array) => reader.push(piece),
        finish: () => {
          if (!reader.done) return false;
          const { bytes } = reader;
          const head = isReply ? parseReply(bytes) : parseRequest(bytes);
          told.add(isReply ? "reply" : "request", head);
          const parts = Object.keys(head).join(" ");
          told.add(`${parts} ${head.addresses.length > 1}`, plain(bytes));
          return true;
        },
      };
    };
    collect(pieces, told, make, MESSAGE_MAX);
  });
  return log.shape;
}

function checkHead(bytes: Uint8Array, isReply: boolean): void {
  const reader = new HeadReader();
  reader.push(bytes);
  if (!reader.done) return;
  if (isReply) {
    const reply = parseReply(reader.bytes);
    const [address, ...more] = reply.addresses;
    if (more.length > 0 || reply.auth !== undefined || reply.network !== undefined) return;
    const { status, cause } = reply;
    const fields = {
      status,
      ...(address === undefined ? {} : { address }),
      ...(cause === undefined ? {} : { cause }),
    };
    checkAgain(reply, () => encodeReply(fields), parseReply);
    return;
  }
  const request = parseRequest(reader.bytes);
  const [address, ...more] = request.addresses;
  if (more.length > 0 || request.cause !== undefined || request.auth?.username === "") return;
  const { command, udp, auth, network } = request;
  const fields = {
    command,
    udp,
    ...(auth === undefined ? {} : { auth }),
    ...(network === undefined ? {} : { network }),
    ...(address === undefined ? {} : { address }),
  };
  checkAgain(request, () => encodeRequest(fields), parseRequest);
}

function runDatagrams(input: Uint8Array, isAssociation: boolean): string {
  const log = sameInEverySplit(input, OWN, (pieces, told) => {
    const take = (payload: Uint8Array, address?: SocksAddress): void => {
      check(payload.length <= DATAGRAM_BYTES_MAX, "a datagram is too long");
      told.add(payload.length === 0 ? "empty" : "datagram", [plain(payload), address]);
      checkDatagram(payload, address);
    };
    const reader = isAssociation ? new AssociatedReader() : new DatagramReader();
    for (const piece of pieces) reader.push(piece, take);
    told.add(reader.isInside ? "inside" : "whole");
  });
  return log.shape;
}

function checkDatagram(payload: Uint8Array, address: SocksAddress | undefined): void {
  const again: string[] = [];
  if (address === undefined) {
    new DatagramReader().push(encodeDatagram(payload), (bytes) => again.push(plain(bytes)));
    check(again[0] === plain(payload), "a datagram reads otherwise");
  } else if (payload.length > 0 && Buffer.byteLength(address.host) <= 255) {
    new AssociatedReader().push(encodeAssociated(payload, address), (bytes, source) => {
      again.push(plain(bytes), JSON.stringify(source));
    });
    check(again[0] === plain(payload), "an associated datagram reads otherwise");
    check(again[1] === JSON.stringify(address), "its address reads otherwise");
  }
}

function generateBody(random: Random, mode: number): Uint8Array {
  const address = randomAddress(random);
  const auth = { username: randomText(random, 20), password: randomText(random, 20) };
  switch (mode) {
    case 0:
      return encodeRequest({
        command: random.below(16),
        udp: random.chance(0.5),
        ...(random.chance(0.5) ? { auth } : {}),
        ...(random.chance(0.5) ? { network: random.below(0x20) } : {}),
        ...(random.chance(0.7) ? { address } : {}),
      });
    case 1:
      return encodeReply({ status: random.below(10), address, cause: random.below(6) });
    case 2:
      return encodeDatagram(random.bytes(random.below(40)));
    default:
      return encodeAssociated(random.bytes(1 + random.below(40)), address);
  }
}

export const relay: Target = {
  name: "relay",
  bytesMax: 4096,
  dictionary: [
    Uint8Array.of(1, 1, 0, 0),
    Uint8Array.of(1, 0, 4, 1, 97, 1, 98),
    Uint8Array.of(2, 0, 7, 1, 192, 0, 2, 1, 0, 80),
    Uint8Array.of(4, 0, 2, 0, 1),
    Uint8Array.of(0xe7, 0, 7, 116, 115, 103, 111, 115, 116, 1),
    Uint8Array.of(3, 0, 16),
    Uint8Array.of(0xff, 3, 0),
    Uint8Array.of(0xff, 4),
  ],
  generate: (random) => withMode(random, 4, (mode) => generateBody(random, mode)),
  run(input) {
    const [first = 0] = input;
    const body = input.subarray(1);
    const mode = first & 3;
    if (mode >= 2) return `${mode} ${runDatagrams(body, mode === 3)}`;
    const shape = runHeads(body, mode === 1);
    try {
      checkHead(body, mode === 1);
    } catch (error) {
      if (!(error instanceof RelayFormatError)) throw error;
    }
    return `${mode} ${shape}`;
  },
};
