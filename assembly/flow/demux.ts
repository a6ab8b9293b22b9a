/**
 * From a packet's addresses and ports to its flow: a keyed hash table (DOS-8) with chains through
 * the records. A record stays in it from its SYN until its connection is over.
 */
import { equalAddress } from "../mem/bytes";
import { flowBucketMask, flowBuckets } from "../mem/pools";
import { hashTuple } from "../mem/siphash";
import { Flow } from "./flow";

/** The flow found last: most packets follow one of the same flow. */
let recent: Flow | null = null;

/** Forgets everything. */
export function initDemux(): void {
  recent = null;
}

/** Hash of a tuple; `local` is the destination of packets in. */
export function tupleHash(family: u32, local: usize, remote: usize, ports: u32): u32 {
  return hashTuple(local, remote, ports, family);
}

/** Both ports as one number. */
export function portPair(localPort: u32, remotePort: u32): u32 {
  return (localPort << 16) | remotePort;
}

/** The flow of a tuple, or null. */
export function findFlow(family: u32, local: usize, remote: usize, ports: u32): Flow | null {
  const last = recent;
  if (last && isFlow(last, family, local, remote, ports)) return last;
  const hash = tupleHash(family, local, remote, ports);
  let flow = changetype<Flow | null>(<usize>load<u32>(bucketOf(hash)));
  while (flow) {
    if (isFlow(flow, family, local, remote, ports)) {
      recent = flow;
      return flow;
    }
    flow = changetype<Flow | null>(<usize>flow.hashNext);
  }
  return null;
}

/** Adds a flow whose endpoints are set. Its tuple must not be there yet. */
export function addFlow(flow: Flow): void {
  const ports = portPair(flow.localPort, flow.remotePort);
  const hash = tupleHash(flow.family, flow.local, flow.remote, ports);
  const bucket = bucketOf(hash);
  flow.freeNext = hash;
  flow.hashNext = load<u32>(bucket);
  store<u32>(bucket, <u32>flow.ptr);
}

/** Takes a flow out. */
export function removeFlow(flow: Flow): void {
  if (recent == flow) recent = null;
  let link = bucketOf(flow.freeNext);
  while (load<u32>(link) != <u32>flow.ptr) {
    const next = load<u32>(link);
    assert(next != 0);
    link = <usize>next + offsetof<Flow>("hashNext");
  }
  store<u32>(link, flow.hashNext);
  flow.hashNext = 0;
}

function bucketOf(hash: u32): usize {
  return flowBuckets() + ((<usize>(hash & flowBucketMask())) << 2);
}

function isFlow(flow: Flow, family: u32, local: usize, remote: usize, ports: u32): bool {
  if (portPair(flow.localPort, flow.remotePort) != ports) return false;
  if (<u32>flow.family != family) return false;
  if (!equalAddress(family, flow.remote, remote)) return false;
  return equalAddress(family, flow.local, local);
}
