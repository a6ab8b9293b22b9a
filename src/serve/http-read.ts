/** Reads one request's head from a client, within a time. */
import type { Transport } from "../chain/types.ts";
import { HttpFormatError, type RequestHead, RequestReader } from "../proto/http1.ts";
import { ClientGone } from "./session.ts";

/** From the first byte of a head to its last. */
const HEAD_MS = 15_000;

/**
 * The next request; undefined when the client ended, or said nothing for `idleMs`, before one
 * began. What follows the head stays in the transport, which is left detached. Throws
 * HttpFormatError or ClientGone.
 */
export function readRequest(
  transport: Transport,
  idleMs: number,
): Promise<RequestHead | undefined> {
  return new Promise<RequestHead | undefined>((resolve, reject) => {
    const reader = new RequestReader();
    let timer: NodeJS.Timeout | undefined;
    const settle = (): void => {
      clearTimeout(timer);
      transport.detach();
    };
    const give = (head: RequestHead | undefined): void => {
      settle();
      resolve(head);
    };
    const fail = (error: unknown): void => {
      settle();
      reject(error instanceof Error ? error : new Error(String(error)));
    };
    timer = setTimeout(() => give(undefined), idleMs);
    transport.attach({
      data: (chunk) => {
        if (!reader.hasBegun) {
          clearTimeout(timer);
          timer = setTimeout(() => fail(new HttpFormatError("no head in time", 408)), HEAD_MS);
        }
        try {
          const used = reader.push(chunk);
          const { head } = reader;
          if (head === undefined) return;
          give(head);
          transport.unshift(chunk.subarray(used));
        } catch (error) {
          fail(error);
        }
      },
      end: () => {
        if (reader.hasBegun) fail(new HttpFormatError("the client ended inside its request"));
        else give(undefined);
      },
      close: () => fail(new ClientGone()),
    });
    transport.resume();
  });
}
