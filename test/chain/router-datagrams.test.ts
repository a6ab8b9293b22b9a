/** The datagrams of a router: each by its own destination. */
import { type Socket, createSocket } from "node:dgram";
import { type AddressInfo, createServer } from "node:net";
import * as assert from "uvu/assert";
import { suite } from "../kit/suite.ts";
import { DEAD, chainWith, listOf, partsOf, routerOf } from "./router-world.ts";
import { dialContext, eventually, startRelay } from "./world.ts";

const test = suite("chain/router-datagrams");

/** UDP echo on an address of this machine; answers its port. */
async function udpEcho(address: string, at = 0): Promise<Socket> {
  const socket = createSocket("udp4");
  socket.on("message", (data, from) => socket.send(data, from.port, from.address));
  await new Promise<void>((resolve) => socket.bind(at, address, resolve));
  return socket;
}

test("each datagram goes its own way: chain, direct, refused; nodes of a carrier stay", async () => {
  const server = await startRelay({});
  const near = await udpEcho("127.0.0.2");
  const far = await udpEcho("127.0.0.3");
  const bad = await udpEcho("127.0.0.4");
  let badSeen = 0;
  bad.on("message", () => badSeen++);
  const sources = new Set<number>();
  for (const socket of [near, far]) socket.on("message", (_data, from) => sources.add(from.port));
  const specs = [{ addrs: [server.address, server.address], bypass: "near", strategy: "round" }];
  const chain = chainWith(specs, partsOf({ near: listOf(["127.0.0.2"]) }));
  const router = routerOf(chain, { bypass: listOf(["127.0.0.4"]) });
  const carrier = await router.datagrams(dialContext());
  const got: string[] = [];
  const failed: string[] = [];
  carrier.attach({
    message: (data, source) => got.push(`${source.host} ${Buffer.from(data).toString()}`),
    unreachable: ({ host }, reason) => failed.push(`${host} ${reason}`),
    close: () => undefined,
  });
  for (const text of ["a", "b"]) {
    for (const socket of [near, far, bad]) {
      const { address: host, port: at } = socket.address();
      carrier.send(Buffer.from(text), { host, port: at });
    }
  }
  await eventually(() => got.length === 4);
  assert.equal(got.map((line) => line.replace("::ffff:", "")).sort(), [
    "127.0.0.2 a",
    "127.0.0.2 b",
    "127.0.0.3 a",
    "127.0.0.3 b",
  ]);
  assert.equal(failed, ["127.0.0.4 prohibited", "127.0.0.4 prohibited"]);
  assert.is(badSeen, 0);
  assert.is(sources.size, 2, "one source port a way, whatever the selector's turn");
  carrier.close();
  assert.is(carrier.send(Buffer.from("x"), { host: "127.0.0.2", port: 1 }), false);
  for (const socket of [near, far, bad]) socket.close();
  await server.close();
});

test("datagrams for a chain that has no way are told, not sent from here", async () => {
  const echoing = await udpEcho("127.0.0.2");
  let seen = 0;
  echoing.on("message", () => seen++);
  const chain = chainWith([{ addrs: [DEAD], bypass: "none" }], partsOf({ none: listOf([]) }));
  const carrier = await routerOf(chain).datagrams(dialContext());
  const failed: string[] = [];
  carrier.attach({
    message: () => undefined,
    unreachable: ({ host }, reason) => failed.push(`${host} ${reason}`),
    close: () => undefined,
  });
  const { address: host, port: at } = echoing.address();
  carrier.send(Buffer.from("x"), { host, port: at });
  await eventually(() => failed.length === 1);
  assert.equal(failed, ["127.0.0.2 refused"]);
  assert.is(seen, 0);
  carrier.close();
  echoing.close();
});

test("what waits for a carrier is bounded", async () => {
  const silent = createServer(() => undefined);
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const { port: at } = silent.address() as AddressInfo;
  const specs = [{ addrs: [`127.0.0.1:${at}`], bypass: "none" }];
  const chain = chainWith(specs, partsOf({ none: listOf([]) }));
  const carrier = await routerOf(chain).datagrams(dialContext());
  let taken = 0;
  for (let count = 0; count < 1000; count++) {
    if (carrier.send(Buffer.alloc(1000), { host: "127.0.0.2", port: 1 })) taken++;
  }
  assert.ok(taken > 0 && taken <= 64, String(taken));
  carrier.close();
  silent.close();
});

test.run();
