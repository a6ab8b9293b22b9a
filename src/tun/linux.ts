/**
 * A TUN device of Linux, over the addon. Opening gives a device that is down; `configure` sets MTU,
 * addresses and routes and brings it up. Packets pass straight between the kernel and the core's
 * memory, in batches.
 *
 * The device is lost only when its descriptor fails. That it goes down, or that its link leaves for
 * another namespace, is told by `onLink` and changes nothing here. Closing the descriptor takes the
 * device, its addresses and its routes away, because the device is not persistent.
 */
import * as abi from "../../assembly/abi.ts";
import { EXIT_USAGE, TsgostError, codeOf, defect } from "../errors.ts";
import { errnoName, errnoText, systemError, systemText } from "../sys/errno.ts";
import { FAILED, READABLE } from "../sys/native.ts";
import type { Native, TunHandle, Watch } from "../sys/native.ts";
import { readLinkEvents } from "../sys/netlink-codec.ts";
import { GROUP_LINK, Netlink } from "../sys/netlink.ts";
import type { Address, Link, LinkEvent, Prefix } from "../sys/netlink.ts";
import type { Poller } from "../sys/poll.ts";
import type { Device, DeviceMemory } from "./device.ts";

const NAME_BYTES_MAX = 15;
const NETLINK_READS_MAX = 64;
const DEFAULT_MTU = 1500;

export interface LinuxDeviceOptions {
  readonly native: Native;
  readonly poller: Poller;
  /** "" lets the kernel choose. Ignored with `fd`. */
  readonly name: string;
  /** Super-packets and partial checksums (IFF_VNET_HDR), where the kernel has them. */
  readonly vnet: boolean;
  /** An open TUN descriptor to take over (`--tun-fd`). */
  readonly fd?: number;
  readonly multiQueue?: boolean;
  readonly tap?: boolean;
}

export interface DeviceRoute {
  readonly dst: Prefix;
  /** Without one the route leads into the device; with one the kernel finds the device. */
  readonly gw?: Address;
  readonly metric?: number;
}

export interface DeviceSettings {
  readonly mtu?: number;
  readonly txQueueLen?: number;
  readonly addresses?: readonly Prefix[];
  /** Default: true. */
  readonly up?: boolean;
  readonly routes?: readonly DeviceRoute[];
}

/** Throws TSGOST_ERR_DEVICE_NAME for a name that no Linux device can have. */
export function checkDeviceName(name: string): void {
  const bytes = new TextEncoder().encode(name).length;
  if (bytes > NAME_BYTES_MAX) {
    throw nameError(name, `is ${bytes} bytes long; a device's name has at most ${NAME_BYTES_MAX}`);
  }
  const numbered = name.replace(/%d/, "");
  if (name === "." || name === ".." || /[\s/:%\u0000-\u001f]/.test(numbered)) {
    throw nameError(name, "is no name that a device can have");
  }
}

function nameError(name: string, why: string): TsgostError {
  const message = `name ${JSON.stringify(name)} ${why}`;
  return new TsgostError("TSGOST_ERR_DEVICE_NAME", message, { exitCode: EXIT_USAGE });
}

/** What was thrown by tunOpen, in words that say what to do. */
function openError(name: string, cause: unknown): TsgostError {
  const device = name === "" ? "a device" : `device ${name}`;
  const opening = (cause as { syscall?: unknown }).syscall === "open /dev/net/tun";
  const code = codeOf(cause);
  if (code === "EPERM" || code === "EACCES") {
    return systemError(
      "TSGOST_ERR_DEVICE_PERMISSION",
      `cannot make ${device} (run as root, or give CAP_NET_ADMIN)`,
      cause,
    );
  }
  if (opening && (code === "ENOENT" || code === "ENODEV" || code === "ENXIO")) {
    return systemError(
      "TSGOST_ERR_DEVICE_MISSING",
      "cannot open /dev/net/tun (load the kernel module: modprobe tun; in a container pass the " +
        "device in: --device /dev/net/tun)",
      cause,
    );
  }
  if (code === "EBUSY" || code === "EEXIST" || (!opening && code === "EINVAL")) {
    return systemError(
      "TSGOST_ERR_DEVICE_BUSY",
      `cannot make ${device}, the name is taken (choose another, or end what uses it)`,
      cause,
    );
  }
  return systemError("TSGOST_ERR_DEVICE", `cannot make ${device}`, cause);
}

export class LinuxDevice implements Device {
  readonly name: string;
  readonly vnetBytes: number;
  readonly offloads: number;
  readonly #native: Native;
  readonly #poller: Poller;
  readonly #netlink: Netlink;
  readonly #fd: number;
  /** The link as it was at the start; undefined if it is in another namespace. */
  readonly #index: number;
  #mtu: number;
  #region = -1;
  #watch: Watch | undefined;
  #monitorFd = -1;
  #monitor: Watch | undefined;
  #failed = false;
  #closed = false;

  constructor(options: LinuxDeviceOptions, handle: TunHandle) {
    this.#native = options.native;
    this.#poller = options.poller;
    this.#netlink = new Netlink(options.native);
    this.#fd = handle.fd;
    this.name = handle.name;
    this.vnetBytes = handle.vnetBytes;
    this.offloads = handle.offloads;
    const link = this.#findLink();
    this.#index = link?.index ?? 0;
    this.#mtu = link?.mtu ?? DEFAULT_MTU;
  }

  get mtu(): number {
    return this.#mtu;
  }

  /** The link's index in this namespace; 0 if it is in another one. */
  get index(): number {
    return this.#index;
  }

  attach(memory: DeviceMemory): void {
    if (memory.region < 0) throw defect("a Linux device needs memory that the addon knows");
    this.#region = memory.region;
  }

  read(max: number): number {
    if (this.#closed) return 0;
    const count = this.#native.tunRead(this.#region, this.#fd, abi.RX_BASE, max);
    if (count > 0 || (count === 0 && !this.#failed)) return count;
    if (errnoName(-count) === "EFAULT") throw defect("the receive entries are out of range");
    const why = count === 0 ? "its descriptor failed" : errnoText(-count);
    throw new TsgostError("TSGOST_ERR_DEVICE_LOST", `device ${this.name} is lost: ${why}`);
  }

  write(count: number): number {
    if (this.#closed || count === 0) return 0;
    const failed = this.#native.tunWrite(this.#region, this.#fd, abi.TX_BASE, count);
    if (failed < 0) throw defect("the transmit descriptors are out of range");
    return failed;
  }

  onReadable(handler: () => void): void {
    this.#watch?.close();
    this.#watch = this.#poller.watch(this.#fd, READABLE, (events) => {
      if ((events & FAILED) !== 0) this.#failed = true;
      handler();
    });
  }

  /** Words for the last packet that write could not write. */
  lastWriteError(): string {
    return errnoText(this.#native.lastErrno());
  }

  /**
   * Sets what is given, in the order MTU, addresses, up, routes. Throws TSGOST_ERR_NETLINK; but
   * that the link is not here, while the descriptor lives, is only told to `warn`.
   */
  configure(settings: DeviceSettings, warn: (error: TsgostError) => void): void {
    try {
      this.#configure(settings);
    } catch (error) {
      const away = error instanceof TsgostError && codeOf(error.cause) === "ENODEV";
      if (!away || this.#findLink() !== undefined) throw error;
      warn(error);
    }
  }

  #configure(settings: DeviceSettings): void {
    const link = this.#netlink.link(this.name);
    if (settings.mtu !== undefined) {
      this.#netlink.setMtu(link, settings.mtu);
      this.#mtu = settings.mtu;
    }
    if (settings.txQueueLen !== undefined) {
      this.#netlink.setTxQueueLen(link, settings.txQueueLen);
    }
    for (const address of settings.addresses ?? []) this.#netlink.addAddress(link, address);
    this.#netlink.setUp(link, settings.up ?? true);
    for (const { dst, gw, metric } of settings.routes ?? []) {
      this.#netlink.replaceRoute({
        dst,
        ...(gw === undefined ? { device: link.index } : { gateway: gw }),
        ...(metric === undefined ? {} : { metric }),
      });
    }
  }

  /**
   * Tells what happens to the link: down, up again, moved to another namespace, gone. None of these
   * ends the device; `gone` is followed by a read that throws.
   */
  onLink(handler: (event: LinkEvent) => void): void {
    if (this.#monitorFd >= 0 || this.#closed) return;
    this.#monitorFd = this.#native.netlinkMonitor(GROUP_LINK);
    let last: LinkEvent["kind"] = this.#findLink()?.up === true ? "up" : "down";
    const tell = (event: LinkEvent): void => {
      if (event.link.index !== this.#index || event.kind === last) return;
      last = event.kind;
      handler(event);
    };
    this.#monitor = this.#poller.watch(this.#monitorFd, READABLE, () => this.#readMonitor(tell));
  }

  #readMonitor(tell: (event: LinkEvent) => void): void {
    for (let reads = 0; reads < NETLINK_READS_MAX && this.#monitorFd >= 0; reads++) {
      const bytes = this.#native.netlinkRead(this.#monitorFd);
      if (bytes === undefined) return;
      readLinkEvents(bytes).forEach(tell);
      // Empty: some messages were dropped, so ask how things are.
      const link = bytes.length === 0 ? this.#findLink() : undefined;
      if (link !== undefined) tell({ kind: link.up ? "up" : "down", link });
    }
  }

  #findLink(): Link | undefined {
    try {
      return this.#netlink.link(this.name);
    } catch {
      return undefined;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#monitor?.close();
    this.#watch?.close();
    if (this.#monitorFd >= 0) this.#native.close(this.#monitorFd);
    this.#monitorFd = -1;
    this.#native.close(this.#fd);
  }
}

/** Opens or takes over a device; throws TsgostError TSGOST_ERR_DEVICE… */
export function openLinuxDevice(options: LinuxDeviceOptions): LinuxDevice {
  const { native, fd, name, vnet } = options;
  if (fd !== undefined) {
    try {
      return new LinuxDevice(options, native.tunAttach(fd, vnet));
    } catch (cause) {
      const message = `descriptor ${fd} is not a TUN device that can be used: ${systemText(cause)}`;
      throw new TsgostError("TSGOST_ERR_DEVICE", message, { cause });
    }
  }
  checkDeviceName(name);
  let handle: TunHandle;
  try {
    handle = native.tunOpen({
      name,
      vnet,
      multiQueue: options.multiQueue ?? false,
      tap: options.tap ?? false,
    });
  } catch (cause) {
    throw openError(name, cause);
  }
  return new LinuxDevice(options, handle);
}
