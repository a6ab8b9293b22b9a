/** SOCKS5: every message of both sides, and datagrams of associations (src/proto/socks5.ts). */
import * as socks5 from "../../../src/proto/socks5.ts";
import { type Target, type Log, check, checkEqual, collect, sameInEverySplit } from "../target.ts";
import { randomAddress, randomText, withMode } from "./parts.ts";

const READERS = [
  socks5.greetingReader,
  socks5.methodReader,
  socks5.passwordReader,
  socks5.passwordStatusReader,
  socks5.requestReader,
  socks5.replyReader,
] as const;
/** The longest message: a request with a name of 255 bytes, or a password. */
const MESSAGE_MAX = 3 + 255 + 255;

function runReader(make: () => socks5.MessageReader<unknown>, body: Uint8Array): Log {
  return sameInEverySplit(body, [socks5.Socks5FormatError], (pieces, log) => {
    const collector = () => {
      const reader = make();
      let message: unknown;
      let isDone = false;
      return {
        push(piece: Uint8Array): number {
          const answer = reader.push(piece);
          isDone = "message" in answer;
          message = answer.message;
          check(reader.taken <= MESSAGE_MAX, "more is held than a message has");
          return answer.used;
        },
        finish(): boolean {
          if (isDone) log.add("message", message);
          return isDone;
        },
      };
    };
    collect(pieces, log, collector, MESSAGE_MAX);
  });
}

function checkAgain(mode: number, body: Uint8Array): void {
  const reader = (READERS[mode] ?? socks5.greetingReader)() as socks5.MessageReader<never>;
  const { message } = reader.push(body) as { message?: unknown };
  if (message === undefined) return;
  let again: Uint8Array;
  try {
    again = encodeAgain(mode, message);
  } catch (error) {
    if (error instanceof RangeError) return;
    throw error;
  }
  const second = (READERS[mode] ?? socks5.greetingReader)().push(again).message;
  checkEqual(meaningOf(second), meaningOf(message), "reads otherwise when it is said again");
}

/** A message without how its address was written: mapped IPv4 becomes IPv4. */
function meaningOf(message: unknown): unknown {
  if (typeof message !== "object" || message === null || !("addressType" in message)) {
    return message;
  }
  return { ...message, addressType: 0 };
}

function encodeAgain(mode: number, message: unknown): Uint8Array {
  switch (mode) {
    case 0:
      return socks5.encodeGreeting([...(message as Uint8Array)]);
    case 1:
      return socks5.encodeMethod(message as number);
    case 2:
      return socks5.encodePassword(message as { username: string; password: string });
    case 3:
      return socks5.encodePasswordStatus(message as boolean);
    case 4: {
      const { command, address } = message as socks5.Socks5Request;
      return socks5.encodeRequest(command, address);
    }
    default: {
      const { code, address } = message as socks5.Socks5Reply;
      return socks5.encodeReply(code, address);
    }
  }
}

function runDatagram(body: Uint8Array): string {
  const datagram = socks5.decodeDatagram(body);
  if (datagram === undefined) return "none";
  check(datagram.payload.length < body.length, "more payload than datagram");
  if (Buffer.byteLength(datagram.address.host) > 255) return "name of bytes";
  const again = socks5.encodeDatagram(datagram.payload, datagram.address);
  const { address, payload } = socks5.decodeDatagram(again) ?? { address: "", payload: again };
  checkEqual([address, [...payload]], [datagram.address, [...datagram.payload]], "datagram");
  return `datagram ${body[3] ?? 0}`;
}

export const socks: Target = {
  name: "socks5",
  bytesMax: 2048,
  dictionary: [
    Uint8Array.of(5, 1, 0),
    Uint8Array.of(5, 2, 0, 2),
    Uint8Array.of(5, 0xf3, 0, 1),
    Uint8Array.of(1, 1, 97, 1, 98),
    Uint8Array.of(5, 0, 0, 3, 255),
    Uint8Array.of(0, 0, 0, 4),
    Uint8Array.of(5, 255),
  ],
  generate: (random) =>
    withMode(random, 7, (mode) => {
      const address = randomAddress(random);
      const methods = [...random.bytes(random.below(5))];
      const words = { username: randomText(random, 30), password: randomText(random, 30) };
      switch (mode) {
        case 0:
          return socks5.encodeGreeting(methods);
        case 2:
          return socks5.encodePassword(words);
        case 4:
          return socks5.encodeRequest(random.pick([1, 2, 3, 0xf2, 0xf3]), address);
        case 5:
          return socks5.encodeReply(random.below(10), address);
        case 6:
          return socks5.encodeDatagram(random.bytes(random.below(30)), address);
        default:
          return Uint8Array.of(mode === 1 ? 5 : 1, random.below(256));
      }
    }),
  run(input) {
    const [first = 0] = input;
    const body = input.subarray(1);
    const mode = first % 7;
    const make = READERS[mode];
    if (make === undefined) return `${mode} ${runDatagram(body)}`;
    const log = runReader(make as () => socks5.MessageReader<unknown>, body);
    try {
      checkAgain(mode, body);
    } catch (error) {
      if (!(error instanceof socks5.Socks5FormatError)) throw error;
    }
    return `${mode} ${log.shape}`;
  },
};
