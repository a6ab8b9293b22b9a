/** What the core put out, as a pcapng file of raw IP packets in virtual time. */
import {
  DIRECTION_OUT,
  LINKTYPE_RAW,
  fileHeader,
  packetBlockBytes,
  writePacketBlock,
} from "../tun/pcapng.ts";

const BUFFER_BYTES = 512 * 1024;

export class OutputFile {
  readonly #write: (bytes: Uint8Array) => void;
  readonly #close: () => void;
  readonly #bytes = new Uint8Array(BUFFER_BYTES);
  readonly #view = new DataView(this.#bytes.buffer);
  #used = 0;
  #isOpen = true;

  constructor(write: (bytes: Uint8Array) => void, close: () => void) {
    this.#write = write;
    this.#close = close;
    const header = fileHeader(LINKTYPE_RAW, "replay");
    this.#bytes.set(header);
    this.#used = header.length;
  }

  packet(data: Uint8Array, timeUs: number): void {
    if (this.#used + packetBlockBytes(data.length) > this.#bytes.length) this.#flush();
    const facts = { timeUs, direction: DIRECTION_OUT, len: data.length };
    this.#bytes.set(data, writePacketBlock(this.#view, this.#used, facts));
    this.#used += packetBlockBytes(data.length);
  }

  /** Writes what is left and closes the file; idempotent. */
  end(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    try {
      this.#flush();
    } finally {
      this.#close();
    }
  }

  #flush(): void {
    this.#write(this.#bytes.subarray(0, this.#used));
    this.#used = 0;
  }
}
