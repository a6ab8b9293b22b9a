/**
 * The address filter of UDP mappings (RFC 4787 REQ-8, address-dependent): the addresses that a
 * client wrote to, a bounded list a mapping. Only there when the filter is configured.
 */
import { putAddress, equalAddress } from "../mem/bytes";
import { PEER_BYTES, peersBase, peersCount } from "../mem/pools";

/** Most addresses of one mapping; the one not written to for longest is forgotten. */
const PEERS_MAX: u32 = 64;

@unmanaged
class Peer {
  addressLow: u64;
  addressHigh: u64;
  next: u32;

  @inline get address(): usize {
    return changetype<usize>(this);
  }
}

if (offsetof<Peer>() > PEER_BYTES) ERROR("Peer outgrew PEER_BYTES");

let freeHead: u32 = 0;
/** Entries that were used at least once; those behind are touched when they are needed. */
let usedCount: u32 = 0;

/** Whether the list that begins with entry `head` has the address. */
export function hasPeer(head: u32, family: u32, address: usize): bool {
  let ptr = head;
  while (ptr != 0) {
    const peer = changetype<Peer>(<usize>ptr);
    if (equalAddress(family, peer.address, address)) return true;
    ptr = peer.next;
  }
  return false;
}

/**
 * Puts an address at the head of the list: the new head. With no entry left the list's own last one
 * is used again; without one of its own the address is not remembered, and its answers are refused.
 */
export function notePeer(head: u32, family: u32, address: usize): u32 {
  let previous: u32 = 0;
  let ptr = head;
  let length: u32 = 0;
  while (ptr != 0) {
    const peer = changetype<Peer>(<usize>ptr);
    const isLast = peer.next == 0;
    const isFull = length + 1 >= PEERS_MAX || !isPeerFree();
    if (equalAddress(family, peer.address, address) || (isLast && isFull)) {
      putAddress(family, peer.address, address);
      return moveToFront(head, previous, peer);
    }
    previous = ptr;
    ptr = peer.next;
    length++;
  }
  if (!isPeerFree()) return head;
  const peer = takePeer();
  putAddress(family, peer.address, address);
  peer.next = head;
  return <u32>changetype<usize>(peer);
}

/** Gives a list's entries back. */
export function forgetPeers(head: u32): void {
  let ptr = head;
  while (ptr != 0) {
    const peer = changetype<Peer>(<usize>ptr);
    const next = peer.next;
    peer.next = freeHead;
    freeHead = ptr;
    ptr = next;
  }
}

function isPeerFree(): bool {
  return freeHead != 0 || usedCount < peersCount();
}

function takePeer(): Peer {
  if (freeHead == 0) {
    usedCount++;
    return changetype<Peer>(peersBase() + <usize>(usedCount - 1) * PEER_BYTES);
  }
  const peer = changetype<Peer>(<usize>freeHead);
  freeHead = peer.next;
  return peer;
}

function moveToFront(head: u32, previous: u32, peer: Peer): u32 {
  if (previous == 0) return head;
  changetype<Peer>(<usize>previous).next = peer.next;
  peer.next = head;
  return <u32>changetype<usize>(peer);
}
