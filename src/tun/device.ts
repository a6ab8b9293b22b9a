/**
 * What the pump needs of a device: batches of packets straight into and out of the core's memory.
 * Implementations: linux (the addon), memory (two ends in one process), and wrappers around any of
 * them: pcap (records what passes), faults (seeded loss, delay, reordering, duplication).
 */

/** The core's memory and the regions a device reads and writes (addresses of abi.ts blocks). */
export interface DeviceMemory {
  readonly buffer: ArrayBuffer;
  /** Region number from Native.attach, -1 where there is no addon (memory devices). */
  readonly region: number;
}

export interface Device {
  readonly name: string;
  readonly mtu: number;
  /** Bytes of virtio_net_hdr before each packet, both ways. */
  readonly vnetBytes: number;
  /** OFFLOAD_… bits. */
  readonly offloads: number;
  /** Must be called once, before read and write. */
  attach(memory: DeviceMemory): void;
  /**
   * Reads packets into the RX entries from index 0: at most `max`, each length stored in its entry.
   * 0 = would block. Throws TsgostError TSGOST_ERR_DEVICE_LOST when the descriptor failed.
   */
  read(max: number): number;
  /** Writes TX descriptors 0 … count-1; answers how many failed. */
  write(count: number): number;
  /** Calls `handler` whenever read would give something; one handler. */
  onReadable(handler: () => void): void;
  /** Ends the device; idempotent. */
  close(): void;
}
