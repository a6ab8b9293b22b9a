/** Lists from files and URLs: what is read when, what stays when reading fails, and the bounds. */
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { RequestListener, Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import * as assert from "uvu/assert";
import type { SourceConfig } from "../../src/config/model.ts";
import { createLogger } from "../../src/log.ts";
import { LINE_BYTES_MAX, SourceList, linesOf } from "../../src/sys/source-list.ts";
import { suite } from "../kit/suite.ts";

const test = suite("sys/source-list");

const folder = mkdtempSync(join(tmpdir(), "tsgost-source-"));
const servers: Server[] = [];
const lists: SourceList<string>[] = [];
let files = 0;

test.after(() => {
  for (const list of lists) list.close();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
  rmSync(folder, { recursive: true });
});

function fileWith(text: string): string {
  const path = join(folder, `list-${files++}`);
  writeFileSync(path, text);
  return path;
}

async function serve(answer: RequestListener): Promise<string> {
  const server = createServer(answer);
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

interface Watched {
  readonly list: SourceList<string>;
  readonly updates: string[];
  readonly logged: () => string;
}

function watch(
  source: Omit<SourceConfig, "place">,
  more: { dropFailed?: boolean; bytesMax?: number } = {},
): Watched {
  const updates: string[] = [];
  const output = join(folder, `log-${files++}`);
  const list = new SourceList<string>({
    label: "bypass b",
    source: { place: "", ...source },
    log: createLogger({ level: "info", format: "json", output }),
    parse: (parts) => {
      const text = parts.map(({ bytes }) => Buffer.from(bytes).toString()).join("+");
      if (text.includes("bad")) throw new Error("bad content");
      return text;
    },
    onUpdate: (value) => updates.push(value),
    ...more,
  });
  lists.push(list);
  return { list, updates, logged: () => readFileSync(output, "utf8") };
}

test("a file is in force after start; changes come with reload, sameness calls nobody", async () => {
  const path = fileWith("one");
  const { list, updates } = watch({ file: { path } });
  await list.start();
  assert.equal(updates, ["one"]);
  assert.is(await list.reload(), true);
  writeFileSync(path, "two");
  assert.is(await list.reload(), true);
  assert.equal(updates, ["one", "two"]);
});

test("without any source there is one update, and an empty file may empty a list", async () => {
  const bare = watch({});
  await bare.list.start();
  assert.equal(bare.updates, [""]);
  assert.is(bare.list.isEmpty, true);
  const path = fileWith("one");
  const { list, updates } = watch({ file: { path } });
  await list.start();
  writeFileSync(path, "");
  await list.reload();
  assert.equal(updates, ["one", ""]);
});

test("a source that fails is a warning and its last bytes stay", async () => {
  const path = fileWith("one");
  let body = "web";
  const url = await serve((_, response) => {
    response.statusCode = body === "" ? 500 : 200;
    response.end(body);
  });
  const kept = watch({ file: { path }, http: { url: `${url}/l?token=hidden` } });
  const dropped = watch({ file: { path }, http: { url } }, { dropFailed: true });
  await kept.list.start();
  await dropped.list.start();
  body = "";
  writeFileSync(path, "two");
  assert.is(await kept.list.reload(), false);
  assert.is(await dropped.list.reload(), false);
  assert.equal(kept.updates, ["one+web", "two+web"]);
  assert.equal(dropped.updates, ["one+web", "two"]);
  assert.match(kept.logged(), "bypass b: ");
  assert.match(kept.logged(), "status 500; the last read stays");
  assert.not.match(kept.logged(), "hidden");
});

test("content that is refused keeps the previous value; at start it is an error", async () => {
  const path = fileWith("one");
  const { list, updates, logged } = watch({ file: { path } });
  await list.start();
  writeFileSync(path, "bad");
  assert.is(await list.reload(), false);
  assert.equal(updates, ["one"]);
  assert.match(logged(), "bad content; the previous list stays");
  const error = await watch({ file: { path } })
    .list.start()
    .then(
      () => undefined,
      (thrown: Error) => thrown,
    );
  assert.is(error?.message, "bad content");
});

test("reads again by itself every period, and not after close", async () => {
  const path = fileWith("one");
  const { list, updates } = watch({ file: { path }, reloadMs: 1 });
  await list.start();
  writeFileSync(path, "two");
  for (let tries = 0; tries < 100 && updates.length < 2; tries++) await sleep(50);
  assert.equal(updates, ["one", "two"]);
  list.close();
  writeFileSync(path, "three");
  await sleep(1200);
  assert.equal(updates, ["one", "two"]);
});

test("a missing file, a FIFO, a folder and a file over the bound are refused", async () => {
  const fifo = join(folder, "fifo");
  execFileSync("mkfifo", [fifo]);
  for (const path of [join(folder, "none"), fifo, folder]) {
    const { list, updates, logged } = watch({ file: { path } });
    await list.start();
    assert.equal(updates, [""], path);
    assert.match(logged(), "nothing was read from it");
  }
  const { list, logged } = watch({ file: { path: fileWith("12345") } }, { bytesMax: 4 });
  await list.start();
  assert.match(logged(), "more than 4 bytes");
});

test("follows redirects within bounds, and only to http", async () => {
  const url = await serve((request, response) => {
    const left = Number(request.url?.slice(1));
    if (left === 0) return void response.end("found");
    const location = left === 99 ? "file:///etc/passwd" : left > 50 ? "/60" : `/${left - 1}`;
    response.writeHead(302, { location }).end();
  });
  const good = watch({ http: { url: `${url}/5` } });
  await good.list.start();
  assert.equal(good.updates, ["found"]);
  for (const [path, why] of [
    ["60", "more than 5 redirects"],
    ["99", "file:// is not supported"],
  ] as const) {
    const { list, updates, logged } = watch({ http: { url: `${url}/${path}` } });
    await list.start();
    assert.equal(updates, [""]);
    assert.match(logged(), why);
  }
});

test("an answer that never ends or is too long is given up", async () => {
  const url = await serve((request, response) => {
    response.write("x".repeat(1000));
    if (request.url === "/long") for (let i = 0; i < 100; i++) response.write("x".repeat(1000));
  });
  const slow = watch({ http: { url, timeoutMs: 100 } });
  await slow.list.start();
  assert.equal(slow.updates, [""]);
  assert.match(slow.logged(), "timed out");
  const long = watch({ http: { url: `${url}/long` } }, { bytesMax: 50_000 });
  await long.list.start();
  assert.match(long.logged(), "more than 50000 bytes");
});

test("a slow URL does not hold up the start, and is put in force when it answers", async () => {
  const url = await serve((_, response) => void setTimeout(() => response.end("late"), 3500));
  const { list, updates } = watch({ file: { path: fileWith("one") }, http: { url } });
  await list.start();
  assert.equal(updates, ["one"]);
  for (let tries = 0; tries < 100 && updates.length < 2; tries++) await sleep(50);
  assert.equal(updates, ["one", "one+late"]);
});

test("linesOf cuts comments and blanks and reports what it refuses", () => {
  const long = "y".repeat(LINE_BYTES_MAX + 1);
  const text = `# head\n a b \r\n\n\tc#d\n${long}\nx\0y\nlast`;
  const faults: string[] = [];
  const lines = [
    ...linesOf({ origin: "f", bytes: Buffer.from(text) }, (place, message) =>
      faults.push(`${place} ${message}`),
    ),
  ];
  assert.equal(
    lines.map(({ text: words, place }) => `${place} ${words}`),
    ["f:2 a b", "f:4 c", "f:7 last"],
  );
  assert.equal(faults, [
    `f:5 the line has more than ${LINE_BYTES_MAX} bytes`,
    "f:6 the line has a NUL",
  ]);
});

test.run();
