/** Reads one message of a handshake from a transport, and leaves what follows there. */
import type { MessageReader } from "../proto/socks5.ts";
import type { Transport } from "./types.ts";

/** The peer ended or closed before the message was whole. */
export class EndedEarly extends Error {
  constructor(cause?: Error) {
    super(cause?.message ?? "the connection was closed without a message", { cause });
  }
}

/**
 * The transport is left detached, with the rest of what came. Rejects with EndedEarly, with what
 * the reader throws, or with the reason of the signal.
 */
export function readMessage<Message>(
  transport: Transport,
  reader: MessageReader<Message>,
  signal: AbortSignal,
): Promise<Message> {
  return new Promise<Message>((resolve, reject) => {
    const finish = (error?: Error): void => {
      signal.removeEventListener("abort", onAbort);
      transport.detach();
      if (error !== undefined) reject(error);
    };
    const onAbort = (): void => {
      finish(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    transport.attach({
      data: (chunk) => {
        try {
          const { used, message } = reader.push(chunk);
          if (message === undefined) return;
          finish();
          transport.unshift(chunk.subarray(used));
          resolve(message);
        } catch (error) {
          finish(error instanceof Error ? error : new Error(String(error)));
        }
      },
      end: () => finish(new EndedEarly()),
      close: (error) => finish(new EndedEarly(error)),
    });
    transport.resume();
    if (signal.aborted) onAbort();
  });
}
