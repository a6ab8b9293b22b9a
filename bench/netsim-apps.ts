/** The applications of bench/netsim-linux.ts: they run inside of a namespace and move bytes. */
import { connect, createServer, type Server, type Socket } from "node:net";

const CHUNK = Buffer.alloc(65_536, 7);
const servers: Server[] = [];

/** Microseconds of a clock that all processes of the machine share. */
function clockUs(): number {
  return Number(process.hrtime.bigint() / 1000n);
}

function sendAll(socket: Socket, bytes: number): void {
  let left = bytes;
  const pump = (): void => {
    while (left > 0) {
      const piece = CHUNK.subarray(0, Math.min(left, CHUNK.length));
      left -= piece.length;
      if (!socket.write(piece)) return;
    }
  };
  socket.on("drain", pump);
  pump();
}

/** Resolves with the time at which `bytes` bytes have arrived. */
function receiveAll(socket: Socket, bytes: number): Promise<number> {
  return new Promise((done, fail) => {
    let got = 0;
    socket.on("data", (data) => {
      got += data.length;
      if (got >= bytes) done(clockUs());
    });
    socket.on("error", fail);
    socket.on("close", () => fail(new Error(`closed after ${got} of ${bytes} bytes`)));
  });
}

/** Listens on two ports: one sends `bytes` to who connects, one counts that many. */
export async function serve(address: string, port: number): Promise<void> {
  const sender = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("data", (data) => sendAll(socket, Number(data.toString("latin1"))));
  });
  const sink = createServer((socket) => {
    socket.on("error", () => undefined);
    let expected = -1;
    let got = 0;
    socket.on("data", (data) => {
      let rest = data.length;
      if (expected < 0) {
        expected = data.readUInt32BE(0);
        rest -= 4;
      }
      got += rest;
      if (got >= expected) {
        // The time is what the uploader waits for: told apart from the path's delay.
        socket.end(String(clockUs()));
      }
    });
  });
  for (const [index, server] of [sender, sink].entries()) {
    await new Promise<void>((done) => server.listen(port + index, address, done));
    servers.push(server);
  }
}

/** Microseconds from the connect until the last of `bytes` has arrived, from `address`. */
export async function download(address: string, port: number, bytes: number): Promise<number> {
  const startUs = clockUs();
  const socket = connect(port, address);
  const request = String(bytes);
  socket.once("connect", () => socket.write(request));
  const endUs = await receiveAll(socket, bytes);
  socket.destroy();
  return endUs - startUs;
}

/** The same in the other direction; the far end says when it had the last byte. */
export async function upload(address: string, port: number, bytes: number): Promise<number> {
  const startUs = clockUs();
  const socket = connect(port + 1, address);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(bytes);
  const answer = new Promise<string>((done, fail) => {
    let text = "";
    socket.on("data", (data) => (text += data.toString("latin1")));
    socket.on("end", () => done(text));
    socket.on("error", fail);
  });
  socket.once("connect", () => {
    socket.write(head);
    sendAll(socket, bytes);
  });
  const endUs = Number(await answer);
  socket.destroy();
  return endUs - startUs;
}
