/** What a service manager is told: sd_notify's datagrams, the watchdog, and nothing without one. */
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { loadNative } from "../../src/sys/addon.ts";
import { ServiceManager } from "../../src/sys/service-manager.ts";
import { MemoryLog } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("sys/service-manager");
test.timeout(60_000);

/** Node has no datagram sockets of this family, so the receiving end is a few lines of C. */
const RECEIVER = `
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
int main(int argc, char **argv) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  char text[4096];
  strncpy(name.sun_path, argv[1], sizeof name.sun_path - 1);
  int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  if (fd < 0 || bind(fd, (struct sockaddr *)&name, sizeof name) != 0) return 1;
  printf("bound\\n--\\n");
  fflush(stdout);
  for (int left = argc > 2 ? argv[2][0] - '0' : 1; left > 0; left--) {
    ssize_t len = recv(fd, text, sizeof text, 0);
    if (len < 0) return 1;
    printf("%.*s\\n--\\n", (int)len, text);
    fflush(stdout);
  }
  return 0;
}
`;

let folder = "";
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "tsgost-notify-"));
  writeFileSync(join(folder, "receiver.c"), RECEIVER);
  const made = spawnSync("cc", ["-o", join(folder, "receiver"), join(folder, "receiver.c")]);
  assert.is(made.status, 0, String(made.stderr));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

interface Fake {
  readonly sent: string[];
  unixSend(path: string, bytes: Uint8Array): void;
}

function fake(): Fake {
  const sent: string[] = [];
  return {
    sent,
    unixSend: (path, bytes) => {
      sent.push(`${path}: ${Buffer.from(bytes).toString()}`);
    },
  };
}

test("start, reload and end arrive at the manager's socket", async () => {
  const socket = join(folder, "notify");
  const receiver = spawn(join(folder, "receiver"), [socket, "3"]);
  let text = "";
  receiver.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
  while (!text.includes("bound")) await once(receiver.stdout, "data");
  const manager = new ServiceManager(loadNative, new MemoryLog(), { NOTIFY_SOCKET: socket });
  manager.ready("2 services");
  manager.reloading();
  manager.stopping();
  const [code] = (await once(receiver, "close")) as [number];
  assert.is(code, 0);
  const [, ready, reloading, stopping] = text.split("\n--\n");
  assert.is(ready, `READY=1\nMAINPID=${process.pid}\nSTATUS=2 services`);
  assert.match(reloading ?? "", /^RELOADING=1\nMONOTONIC_USEC=\d+$/);
  assert.is(stopping, "STOPPING=1");
});

test("without a socket the addon is not even asked for", () => {
  const never = (): never => {
    throw new Error("asked");
  };
  for (const environment of [{}, { NOTIFY_SOCKET: "" }, { NOTIFY_SOCKET: "relative" }]) {
    const log = new MemoryLog();
    const manager = new ServiceManager(never, log, environment);
    manager.ready("");
    manager.stopping();
    assert.equal(log.lines, []);
  }
});

test("a manager that is not there is one warning", () => {
  const log = new MemoryLog();
  const socket = `@tsgost-nobody-${process.pid}`;
  const manager = new ServiceManager(loadNative, log, { NOTIFY_SOCKET: socket });
  manager.ready("");
  manager.reloading();
  manager.stopping();
  assert.is(log.lines.length, 1);
  assert.match(log.lines[0] ?? "", /^warn the service manager .* was not told: ECONNREFUSED/);
});

test("the watchdog is fed at half its period, if it is meant for this process", async () => {
  const native = fake();
  const manager = new ServiceManager(() => native, new MemoryLog(), {
    NOTIFY_SOCKET: "@x",
    WATCHDOG_USEC: "20000",
    WATCHDOG_PID: String(process.pid),
  });
  manager.ready("a\nREADY=0");
  assert.is(native.sent[0], `@x: READY=1\nMAINPID=${process.pid}\nSTATUS=a READY=0`);
  const until = performance.now() + 5000;
  while (native.sent.length < 4 && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.equal(native.sent.slice(1, 4), Array<string>(3).fill("@x: WATCHDOG=1"));
  manager.stopping();
  const count = native.sent.length;
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.is(native.sent.length, count);

  const other = fake();
  const foreign = { NOTIFY_SOCKET: "@x", WATCHDOG_USEC: "4000", WATCHDOG_PID: "1" };
  const idle = new ServiceManager(() => other, new MemoryLog(), foreign);
  idle.ready("");
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.is(other.sent.length, 1);
});

test.run();
