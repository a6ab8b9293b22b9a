/**
 * Client addresses that have UDP mappings: how many, and in which order they were used. A record
 * lives exactly as long as the address has a mapping, so there are enough of them.
 */
import { clear, equalAddress, putAddress } from "../mem/bytes";
import {
  CLIENT_BYTES,
  clientBuckets,
  clientsBase,
  mappingBucketMask,
  mappingsCount,
} from "../mem/pools";
import { hashEndpoint } from "../mem/siphash";

@unmanaged
export class Client {
  addressLow: u64;
  addressHigh: u64;
  family: u32;
  /** Living mappings, and the least and most recently used of them. */
  mappings: u32;
  oldest: u32;
  newest: u32;
  /** Next in the bucket, or in the free list. */
  next: u32;

  @inline get address(): usize {
    return changetype<usize>(this);
  }
}

if (offsetof<Client>() > CLIENT_BYTES) ERROR("Client outgrew CLIENT_BYTES");

let freeHead: u32 = 0;
/** Records that were used at least once; those behind are touched when they are needed. */
let usedCount: u32 = 0;

/** The record of an address, made if there is none. */
export function clientOf(family: u32, address: usize): Client {
  const bucket = bucketOf(family, address);
  let ptr = load<u32>(bucket);
  while (ptr != 0) {
    const client = changetype<Client>(<usize>ptr);
    if (client.family == family && equalAddress(family, client.address, address)) return client;
    ptr = client.next;
  }
  const client = takeClient();
  clear(changetype<usize>(client), CLIENT_BYTES);
  putAddress(family, client.address, address);
  client.family = family;
  client.next = load<u32>(bucket);
  store<u32>(bucket, <u32>changetype<usize>(client));
  return client;
}

/** Gives back the record of an address that has no mapping any more. */
export function dropClient(client: Client): void {
  const bucket = bucketOf(client.family, client.address);
  const self = <u32>changetype<usize>(client);
  if (load<u32>(bucket) == self) {
    store<u32>(bucket, client.next);
  } else {
    let previous = changetype<Client>(<usize>load<u32>(bucket));
    while (previous.next != self) previous = changetype<Client>(<usize>previous.next);
    previous.next = client.next;
  }
  client.next = freeHead;
  freeHead = self;
}

function takeClient(): Client {
  if (freeHead == 0) {
    assert(usedCount < mappingsCount());
    usedCount++;
    return changetype<Client>(clientsBase() + <usize>(usedCount - 1) * CLIENT_BYTES);
  }
  const client = changetype<Client>(<usize>freeHead);
  freeHead = client.next;
  return client;
}

function bucketOf(family: u32, address: usize): usize {
  return clientBuckets() + ((<usize>(hashEndpoint(address, 0, family) & mappingBucketMask())) << 2);
}
