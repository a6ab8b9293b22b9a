/** A SOCKS5 client that can do UDP ASSOCIATE (RFC 1928 §7), as little as the checks need. */
import { type Socket as UdpSocket, createSocket } from "node:dgram";
import { once } from "node:events";
import { type Socket, connect } from "node:net";

export class SocksUdp {
  readonly #control: Socket;
  readonly #socket: UdpSocket;
  readonly #relayPort: number;

  private constructor(control: Socket, socket: UdpSocket, relayPort: number) {
    this.#control = control;
    this.#socket = socket;
    this.#relayPort = relayPort;
  }

  static async open(port: number): Promise<SocksUdp> {
    const control = connect(port, "127.0.0.1");
    await once(control, "connect");
    control.write(Buffer.of(5, 1, 0));
    await once(control, "data");
    control.write(Buffer.of(5, 3, 0, 1, 0, 0, 0, 0, 0, 0));
    const [reply] = (await once(control, "data")) as [Buffer];
    if (reply[1] !== 0) throw new Error(`SOCKS5 UDP ASSOCIATE answers ${reply[1] ?? -1}`);
    const socket = createSocket("udp4");
    return new SocksUdp(control, socket, reply.readUInt16BE(reply.length - 2));
  }

  /** Sends until an answer comes; the answer's payload. */
  async ask(port: number, text: string): Promise<string> {
    const header = Buffer.of(0, 0, 0, 1, 127, 0, 0, 1, port >> 8, port & 255);
    const packet = Buffer.concat([header, Buffer.from(text)]);
    const timer = setInterval(() => {
      this.#socket.send(packet, this.#relayPort, "127.0.0.1");
    }, 100);
    try {
      const [answer] = (await once(this.#socket, "message")) as [Buffer];
      return answer.subarray(header.length).toString();
    } finally {
      clearInterval(timer);
    }
  }

  close(): void {
    this.#control.destroy();
    this.#socket.close();
  }
}
