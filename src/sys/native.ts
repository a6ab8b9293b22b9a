/**
 * What the addon (`src/sys/native/`) offers, as the rest of the host sees it. The addon is a thin
 * layer over system calls: no protocol logic, no process-wide state. Calls that move data take a
 * region (a WebAssembly memory that was attached once) and addresses inside it, and answer a count
 * or a negative errno; calls that set something up throw an Error with `code` ("EPERM") and
 * `syscall`. Addresses cross as 16 bytes, IPv4 in the first four, with a family of 4 or 6.
 */

/** Bits of `watch` and of the readiness list. */
export const READABLE = 1;
export const WRITABLE = 2;
/** The descriptor failed (POLLERR, POLLHUP without data, or the poll itself failed). */
export const FAILED = 4;

export interface TunOpen {
  /** Wanted name, or "" to let the kernel choose (`tun%d`). */
  readonly name: string;
  /** Ask for IFF_VNET_HDR and offloads. */
  readonly vnet: boolean;
  readonly multiQueue?: boolean;
  /** TAP instead of TUN. */
  readonly tap?: boolean;
}

export interface TunHandle {
  readonly fd: number;
  readonly name: string;
  /** Bytes before each packet: 0, 10 or 12. */
  readonly vnetBytes: number;
  /** OFFLOAD_… bits of abi.ts that the kernel granted. */
  readonly offloads: number;
}

export interface SocketOptions {
  /** SO_BINDTODEVICE; a failure throws (never silently unbound). */
  readonly device?: string;
  /** SO_MARK. */
  readonly mark?: number;
  /** Local address (4 or 16 bytes) and port to bind. */
  readonly localAddress?: Uint8Array;
  readonly localPort?: number;
  /** SO_SNDBUF / SO_RCVBUF, tried with the FORCE variant first. */
  readonly sendBuffer?: number;
  readonly recvBuffer?: number;
}

export interface Native {
  /** Registers a memory whose buffer never changes; answers a small integer. */
  attach(memory: ArrayBuffer): number;
  detach(region: number): void;

  /** Opens a TUN or TAP; throws with code and syscall. */
  tunOpen(options: TunOpen): TunHandle;
  /** Takes an open TUN descriptor (`--tun-fd`), asks the kernel what it is, sets offloads. */
  tunAttach(fd: number, vnet: boolean): TunHandle;
  /**
   * Reads packets into RX entries {ptr u32, len u32} at `rxPtr` until EAGAIN or `max`, storing each
   * length. Answers the count, or a negative errno if the first read failed (EAGAIN gives 0).
   */
  tunRead(region: number, fd: number, rxPtr: number, max: number): number;
  /**
   * Writes `count` TX descriptors (abi.ts TX_…). A failed packet is skipped. Answers the number
   * that failed; `lastErrno()` tells the last cause.
   */
  tunWrite(region: number, fd: number, txPtr: number, count: number): number;
  lastErrno(): number;

  /** A non-blocking socket, close-on-exec. "ping" and "raw-icmp" are the two kinds of ICMP echo. */
  socket(
    family: 4 | 6,
    type: "stream" | "dgram" | "ping" | "raw-icmp",
    options: SocketOptions,
  ): number;
  /** Non-blocking connect; 0, or -errno (-EINPROGRESS is usual). */
  connect(fd: number, address: Uint8Array, port: number): number;
  /** SO_ERROR, 0 or a positive errno. */
  socketError(fd: number): number;
  setNoDelay(fd: number, on: boolean): void;
  /** SO_KEEPALIVE on, with TCP_KEEPIDLE and TCP_KEEPINTVL in seconds and TCP_KEEPCNT. */
  setKeepAlive(fd: number, idleS: number, intervalS: number, count: number): void;
  /** Local or peer name; undefined if there is none. */
  socketName(fd: number, peer: boolean): { address: Uint8Array; port: number } | undefined;
  /** send() of spans {ptr u32, len u32}; bytes taken or -errno. MSG_NOSIGNAL. */
  sendSpans(region: number, fd: number, spansPtr: number, count: number): number;
  /** recv() into spans; bytes, 0 at EOF, or -errno. */
  recvSpans(region: number, fd: number, spansPtr: number, count: number): number;
  /** SHUT_WR. */
  shutdownWrite(fd: number): number;
  close(fd: number): void;
  /** close() with SO_LINGER 0: the peer gets a RST. */
  reset(fd: number): void;

  /**
   * sendmmsg of `count` datagram records (abi.ts DGRAM_…: ptr, len, gso, family, port, far). On a
   * record with gso it uses UDP_SEGMENT, or splits when the kernel has none. Answers how many
   * records were taken, or -errno of the first that failed when none was.
   */
  udpSend(region: number, fd: number, recordsPtr: number, count: number): number;
  /**
   * recvmmsg into at most `max` datagram records whose ptr is set (each SLOT_BYTES of room): fills
   * len, gso (UDP_GRO), family, port, far. Answers the count, 0 on EAGAIN, or -errno.
   */
  udpRecv(region: number, fd: number, recordsPtr: number, max: number): number;
  /** Takes one ICMP error from the error queue (IP_RECVERR); undefined if there is none. */
  udpError(fd: number): UdpError | undefined;
  /** Sends one ICMP echo request on a "ping" or "raw-icmp" socket. id counts for raw only. */
  pingSend(region: number, fd: number, recordPtr: number, id: number): number;
  /**
   * Takes one echo reply into a record's ptr (data without header), fills len, far, id and seq.
   * Answers 1, 0 if there is none, or -errno.
   */
  pingRecv(region: number, fd: number, recordPtr: number): number;

  /**
   * Watches a descriptor on Node's loop; `id` comes back in the readiness list. Level triggered:
   * what is not read, and a failure that is not handled (the error taken, or the watch set to 0 or
   * closed), is told again in every turn. FAILED comes with whatever else was asked for.
   */
  watch(fd: number, id: number, events: number): Watch;
  /**
   * Sets the handler of all watches: called once a loop turn with the number of pairs
   * {id, events} in `list` (Int32Array). Runs microtasks afterwards as any callback does.
   */
  onReady(list: Int32Array, handler: (count: number) => void): void;

  /** Sends one netlink request (NETLINK_ROUTE) and answers all reply messages; waits ≤ 2 s. */
  netlink(request: Uint8Array): Uint8Array;
  /** A netlink socket subscribed to `groups` (bit mask), to be watched; and one read from it. */
  netlinkMonitor(groups: number): number;
  netlinkRead(fd: number): Uint8Array | undefined;
  /** A device's index; 0 if there is none of that name. */
  ifIndex(name: string): number;
  /** One datagram to a Unix socket; a path that begins with @ is abstract. */
  unixSend(path: string, bytes: Uint8Array): void;
  /** Moves this thread, and only this one, into a network namespace by its file. */
  setNetns(path: string): void;
}

export interface Watch {
  /** READABLE | WRITABLE; 0 stops. */
  set(events: number): void;
  /** Ends the watch; never closes the descriptor. */
  close(): void;
}

export interface UdpError {
  /** Positive errno: ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EMSGSIZE, EACCES … */
  readonly errno: number;
  /** ICMP origin 2 (v4), 3 (v6), 1 local. */
  readonly origin: number;
  /** Path MTU for EMSGSIZE, else 0. */
  readonly info: number;
  readonly family: 4 | 6;
  /** The destination that the failed datagram went to. */
  readonly address: Uint8Array;
  readonly port: number;
}
