/**
 * The last step of the listeners mtls, mws and mwss: a smux session over each connection, and each
 * stream that the peer opens handed over as if it were a connection of its own.
 *
 * Bounds: streams of a session and of the listener in all; a session that says nothing ends with
 * its keep-alive.
 */
import { MuxSession } from "../chain/mux-session.ts";
import { type MuxSettings, muxSettings } from "../chain/mux-settings.ts";
import type { Transport } from "../chain/types.ts";
import type { ServiceConfig } from "../config/model.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../log.ts";

export class MuxAcceptor {
  readonly #settings: MuxSettings;
  readonly #log: Logger;
  readonly #streamsMax: number;
  readonly #sessions = new Set<MuxSession>();
  readonly #tally = { streams: 0 };

  /** `streamsMax`: of all sessions together. Throws a configuration error. */
  constructor(service: ServiceConfig, log: Logger, streamsMax: number) {
    this.#settings = muxSettings(service.listener.metadata, service.place);
    this.#log = log;
    this.#streamsMax = streamsMax;
  }

  /** Takes `below` over; `peer` is for the log. */
  accept(below: Transport, peer: string, onStream: (stream: Transport) => void): void {
    const session = new MuxSession(below, {
      opener: false,
      settings: this.#settings,
      tally: this.#tally,
      accept: (stream) => {
        const isFull = this.#tally.streams > this.#streamsMax;
        if (isFull) this.#log.once("mux full", 60_000, { message: "too many streams" });
        else onStream(stream);
        return !isFull;
      },
      onClose: (error) => {
        this.#sessions.delete(session);
        if (error === undefined) return;
        this.#log.debug(messageOf(error), { client: peer });
      },
    });
    this.#sessions.add(session);
  }

  /** No more streams; a session ends with its last one. */
  close(): void {
    for (const session of this.#sessions) session.drain();
  }
}
