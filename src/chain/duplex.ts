/** A Node Duplex over a stream of a chain, for what wants a Node stream: TLS, HTTP. */
import { Duplex } from "node:stream";
import type { UpStream } from "./types.ts";

export function duplexOf(transport: UpStream): Duplex {
  const duplex = new Duplex({
    allowHalfOpen: true,
    read: () => transport.resume(),
    write: (chunk: Uint8Array, _encoding, done) => {
      transport.write([chunk], done);
    },
    writev: (entries, done) => {
      transport.write(
        entries.map((entry) => entry.chunk as Uint8Array),
        done,
      );
    },
    final: (done) => {
      transport.end();
      done();
    },
    destroy: (error, done) => {
      if (error === null) transport.destroy();
      else transport.reset();
      done(error);
    },
  });
  transport.pause();
  transport.attach({
    data: (chunk) => {
      if (!duplex.push(chunk)) transport.pause();
    },
    end: () => {
      duplex.push(null);
    },
    close: (error) => {
      if (error !== undefined) duplex.destroy(error);
      else if (duplex.readableEnded && duplex.writableFinished) duplex.destroy();
      else if (!duplex.readableEnded) duplex.push(null);
    },
  });
  return duplex;
}
