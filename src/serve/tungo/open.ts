/**
 * Opens a tungo service's device as its options say: the TUN itself, its MTU, addresses and routes,
 * and the recorder in front of it. Called again when the device was lost.
 */
import { formatCidr } from "../../config/net.ts";
import type { TungoOptions } from "../../config/tungo.ts";
import { messageOf } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import type { LoopGuard } from "../../sys/loop-guard.ts";
import type { Native } from "../../sys/native.ts";
import type { Poller } from "../../sys/poll.ts";
import type { Device } from "../../tun/device.ts";
import { openLinuxDevice } from "../../tun/linux.ts";
import { PcapDevice } from "../../tun/pcap.ts";
import { effectiveRoutes } from "../../config/plan.ts";

/** Room for bursts of the kernel's: its default of 500 loses packets at small MTUs. */
const TX_QUEUE_PACKETS = 2000;

export interface OpenContext {
  readonly native: Native;
  readonly poller: Poller;
  readonly log: Logger;
  readonly guard: LoopGuard;
}

/** `again`: the device was lost before, so its recording goes on. */
export function openTungoDevice(tungo: TungoOptions, context: OpenContext, again: boolean): Device {
  const { native, poller, log, guard } = context;
  const device = openLinuxDevice({
    native,
    poller,
    name: tungo.name,
    vnet: tungo.vnet,
    ...(tungo.tunFd === undefined ? {} : { fd: tungo.tunFd }),
  });
  try {
    // A descriptor that was handed over belongs to the caller, with its MTU and addresses, unless
    // the caller asks for some.
    const own = tungo.tunFd === undefined || tungo.nets.length > 0 || tungo.routes.length > 0;
    if (own) {
      device.configure(
        {
          mtu: tungo.mtu,
          txQueueLen: TX_QUEUE_PACKETS,
          addresses: tungo.nets,
          up: true,
          routes: effectiveRoutes(tungo),
        },
        (error) => log.warn(`device ${device.name} is elsewhere: ${messageOf(error)}`),
      );
    }
    guard.add(device.index, device.name);
    device.onLink(({ kind }) => {
      if (kind === "gone" || kind === "moved") guard.remove(device.index);
      log.warn(`link ${device.name}: ${kind}`, { device: device.name });
    });
    log.debug("device", {
      device: device.name,
      mtu: device.mtu,
      vnet: device.vnetBytes,
      offloads: device.offloads,
      addresses: tungo.nets.map(formatCidr),
    });
    if (tungo.pcap === undefined) return device;
    return new PcapDevice(device, {
      file: tungo.pcap,
      append: again,
      onError: (error) => log.error(`the recording ended: ${messageOf(error)}`),
    });
  } catch (error) {
    device.close();
    throw error;
  }
}
