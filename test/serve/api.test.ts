/** The web API and the metrics page: paths, answers, credentials and bounds. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request, type RequestOptions } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { DocMap } from "../../src/config/document.ts";
import { configError } from "../../src/errors.ts";
import { Api, type ApiControl } from "../../src/serve/api.ts";
import { renderMetrics } from "../../src/serve/metrics.ts";
import { ChainCounters, OTHER_CLIENTS, ServiceStats } from "../../src/serve/stats.ts";
import { startWeb, type WebAnswer, type WebOptions, type WebServer } from "../../src/serve/web.ts";
import { MemoryLog } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/api");

let folder = "";
test.before(() => {
  folder = mkdtempSync(join(tmpdir(), "tsgost-api-"));
});
test.after(() => rmSync(folder, { recursive: true, force: true }));

class Control implements ApiControl {
  current: DocMap = {
    services: [
      {
        name: "s",
        addr: ":1",
        handler: { type: "relay", auth: { username: "u", password: "secret" } },
      },
    ],
    bypasses: [{ name: "b", matchers: ["example.com"] }],
  };
  file = "";
  reloads = 0;
  refuse = "";

  document(): DocMap {
    return this.current;
  }

  apply(document: DocMap): Promise<void> {
    if (this.refuse !== "") return Promise.reject(configError("x.yml:3:1", this.refuse));
    this.current = document;
    return Promise.resolve();
  }

  reload(): Promise<void> {
    this.reloads++;
    return this.apply(this.current);
  }

  status(service: string): DocMap | undefined {
    return service === "s" ? { state: "ready" } : undefined;
  }
}

async function ask(
  control: Control,
  method: string,
  url: string,
  body = "",
  prefix = "",
): Promise<{ status: number; value: unknown; text: string }> {
  const { pathname, searchParams } = new URL(url, "http://x");
  const api = new Api(control, prefix);
  const answer = await api.answer({ method, path: pathname, query: searchParams, body });
  const isJson = answer.type === undefined;
  return {
    status: answer.status,
    value: isJson ? JSON.parse(answer.body) : undefined,
    text: answer.body,
  };
}

test("the configuration is shown with states, its secrets only when asked for", async () => {
  const control = new Control();
  const { status, value } = await ask(control, "GET", "/config");
  assert.is(status, 200);
  assert.equal(value, {
    services: [
      {
        name: "s",
        addr: ":1",
        handler: { type: "relay", auth: { username: "u", password: "***" } },
        status: { state: "ready" },
      },
    ],
    bypasses: [{ name: "b", matchers: ["example.com"] }],
  });
  assert.match((await ask(control, "GET", "/config?secrets=true")).text, /"secret"/);
  const yaml = await ask(control, "GET", "/config?format=yaml");
  assert.match(yaml.text, /^services:\n {2}- name: s\n/);
  assert.not.match(yaml.text, /secret/);
});

test("objects are listed, found, made, replaced and removed", async () => {
  const control = new Control();
  const list = { data: { count: 1, list: [{ name: "b", matchers: ["example.com"] }] } };
  assert.equal((await ask(control, "GET", "/config/bypasses")).value, list);
  assert.equal((await ask(control, "GET", "/config/bypasses/b")).value, {
    data: list.data.list[0],
  });
  assert.equal((await ask(control, "GET", "/config/bypasses/x")).value, { data: null });
  const body = JSON.stringify({ name: "c", matchers: ["a.b"], reload: 10_000_000_000 });
  assert.equal(await ask(control, "POST", "/config/bypasses", body), {
    status: 200,
    value: { msg: "OK" },
    text: '{"msg":"OK"}',
  });
  assert.equal(control.current["bypasses"], [
    { name: "b", matchers: ["example.com"] },
    { name: "c", matchers: ["a.b"], reload: 10_000 },
  ]);
  await ask(control, "PUT", "/config/bypasses/b", '{"name":"b","whitelist":true}');
  await ask(control, "DELETE", "/config/bypasses/c");
  assert.equal(control.current["bypasses"], [{ name: "b", whitelist: true }]);
});

test("mistakes have GOST's codes and change nothing", async () => {
  const control = new Control();
  const before = JSON.stringify(control.current);
  const code = async (method: string, path: string, body = ""): Promise<unknown> => {
    const { status, value } = await ask(control, method, path, body);
    return [status, (value as { code: number }).code];
  };
  assert.equal(await code("POST", "/config/bypasses", "no json"), [400, 40001]);
  assert.equal(await code("POST", "/config/bypasses", "[]"), [400, 40001]);
  assert.equal(await code("POST", "/config/bypasses", "{}"), [400, 40001]);
  assert.equal(await code("POST", "/config/bypasses", '{"name":"x","matchers":{}}'), [400, 40001]);
  assert.equal(await code("POST", "/config/bypasses", '{"name":"b"}'), [400, 40002]);
  assert.equal(await code("PUT", "/config/bypasses/x", '{"name":"x"}'), [400, 40004]);
  assert.equal(await code("DELETE", "/config/bypasses/x"), [400, 40004]);
  assert.equal(await code("GET", "/config/nothing"), [404, 404]);
  assert.equal(await code("GET", "/other"), [404, 404]);
  assert.equal(await code("PATCH", "/config"), [404, 404]);
  control.refuse = "there is no chain";
  assert.equal(await code("POST", "/config/services", '{"name":"t"}'), [500, 40003]);
  assert.equal(await code("POST", "/config/chains", '{"name":"t"}'), [409, 40003]);
  assert.equal(await code("POST", "/config/reload"), [500, 40003]);
  assert.equal(await code("POST", "/config"), [500, 40005]);
  assert.is(JSON.stringify(control.current), before);
});

test("reload reads again; saving writes only the file that it came from", async () => {
  const control = new Control();
  assert.is((await ask(control, "POST", "/config/reload")).status, 200);
  assert.is(control.reloads, 1);
  control.file = join(folder, "gost.yaml");
  const elsewhere = encodeURIComponent(join(folder, "other.yaml"));
  assert.is((await ask(control, "POST", `/config?path=${elsewhere}`)).status, 500);
  assert.is((await ask(control, "POST", "/config")).status, 200);
  assert.match(readFileSync(control.file, "utf8"), /password: secret/);
});

test("all lies below the path prefix", async () => {
  const control = new Control();
  assert.is((await ask(control, "GET", "/api/config", "", "/api/")).status, 200);
  assert.is((await ask(control, "GET", "/config", "", "/api")).status, 404);
});

test("metrics have GOST's names and the core's counters, by reason and client", () => {
  const stats = new ServiceStats();
  stats.begin("192.0.2.1").end({ input: 10, output: 20 }, false);
  const failed = stats.begin('a"\\b\n');
  failed.end({ input: 1, output: 2 }, true);
  failed.end({ input: 1, output: 2 }, true);
  stats.begin("192.0.2.1");
  const chains = new ChainCounters();
  chains.connected("chain-0", "node-0", 70);
  chains.failed("chain-0", "node-0");
  const core = {
    device: "tungo",
    counters: { packets_in: 7, drop_bad_checksum: 2 },
    gauges: { flows: 3 },
  };
  const service = { name: "s", state: "ready" as const, stats, core: () => core };
  const text = renderMetrics({ services: () => [service], chains }, 1000);
  const plain = text.replaceAll(/host="[^"]*",?/g, "");
  const has = (line: string): void => assert.ok(plain.includes(`\n${line}\n`), `${line}\n${plain}`);
  has("gost_services{} 1");
  has('gost_service_status{state="ready"} 1');
  has('gost_service_requests_total{service="s",client="192.0.2.1"} 2');
  has('gost_service_requests_in_flight{service="s",client="192.0.2.1"} 1');
  has('gost_service_handler_errors_total{service="s",client="a\\"\\\\b\\n"} 1');
  has('gost_service_transfer_output_bytes_total{service="s",client="192.0.2.1"} 20');
  has('gost_service_request_duration_seconds_count{service="s"} 2');
  has('gost_service_request_duration_seconds_bucket{service="s",le="+Inf"} 2');
  has('gost_chain_node_connect_duration_seconds_bucket{chain="chain-0",node="node-0",le="0.05"} 0');
  has('gost_chain_node_connect_duration_seconds_bucket{chain="chain-0",node="node-0",le="0.1"} 1');
  has('gost_chain_errors_total{chain="chain-0",node="node-0"} 1');
  has('tsgost_drops_total{service="s",device="tungo",reason="bad_checksum"} 2');
  has('tsgost_packets_in_total{service="s",device="tungo"} 7');
  has('tsgost_flows{service="s",device="tungo"} 3');
  has("process_start_time_seconds 1000");
  for (const [, name] of text.matchAll(/^([a-z_]+)[ {]/gm)) {
    const family = (name ?? "").replace(/_(bucket|sum|count)$/, "");
    assert.ok(text.includes(`# TYPE ${family} `) || text.includes(`# TYPE ${name} `), name);
  }
});

test("clients beyond the bound count together", () => {
  const stats = new ServiceStats();
  for (let i = 0; i < 1500; i++) stats.begin(`c${i}`).end({ input: 1, output: 0 }, false);
  assert.is(stats.clients.size, 1001);
  assert.is(stats.clients.get(OTHER_CLIENTS)?.requests, 500);
  assert.equal([stats.total().requests, stats.total().inputBytes], [1500, 1500]);
});

const HELLO: WebAnswer = { status: 200, body: '"hello"' };

function web(options: Partial<WebOptions> & { addr?: string } = {}): Promise<WebServer> {
  return startWeb({
    what: "api",
    endpoint: { addr: options.addr ?? "127.0.0.1:0", place: "-api" },
    authenticator: undefined,
    log: new MemoryLog(),
    answer: () => Promise.resolve(HELLO),
    ...options,
  });
}

interface Got {
  readonly status: number;
  readonly headers: Record<string, unknown>;
  readonly body: string;
}

function get(options: RequestOptions, body = ""): Promise<Got> {
  return new Promise((resolve, reject) => {
    const sent = request({ agent: false, ...options }, (response) => {
      let text = "";
      response.on("data", (chunk: Buffer) => (text += chunk.toString()));
      response.on("end", () => {
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
      });
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

function portOf(server: WebServer): number {
  return Number(server.address.split(":").at(-1));
}

test("with users nobody gets in without them, by Basic or Bearer", async () => {
  const authenticator = {
    accepts: (given: { username: string; password: string } | undefined) =>
      given?.username === "u" && given.password === "p",
  };
  const server = await web({ authenticator, addr: ":0" });
  const port = portOf(server);
  const status = async (authorization?: string): Promise<number> =>
    (await get({ port, headers: authorization === undefined ? {} : { authorization } })).status;
  const basic = (text: string): string => `Basic ${Buffer.from(text).toString("base64")}`;
  assert.equal(
    [
      await status(),
      await status(basic("u:x")),
      await status("Basic !"),
      await status("Digest u:p"),
    ],
    [401, 401, 401, 401],
  );
  assert.equal([await status(basic("u:p")), await status("Bearer u:p")], [200, 200]);
  const { headers } = await get({ port });
  assert.match(String(headers["www-authenticate"]), /^Basic realm=/);
  assert.is(headers["access-control-allow-origin"], undefined);
  await server.close();
});

test("an address that others reach needs users; a path or loopback does not", async () => {
  await refused(
    web({ addr: ":0" }),
    /can be reached by others without a password; give user:password@/,
  );
  await refused(web({ addr: "nonsense" }), /^-api: api\.addr: "nonsense" is not/);
  const path = join(folder, "api.sock");
  for (let round = 0; round < 2; round++) {
    const server = await web({ addr: `unix://${path}` });
    assert.is((await get({ socketPath: path, path: "/x?y=1" })).body, '"hello"');
    await server.close();
  }
});

async function refused(promise: Promise<unknown>, pattern: RegExp): Promise<void> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, Error);
  assert.match((error as Error).message, pattern);
}

test("a port that is taken is said, a body that is too big refused, trouble is a 500", async () => {
  const taken = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => taken.once("listening", resolve));
  const { port } = taken.address() as { port: number };
  await refused(web({ addr: `127.0.0.1:${port}` }), /cannot listen on 127.0.0.1:\d+: .*EADDRINUSE/);
  taken.close();

  const server = await web({
    answer: ({ body }) =>
      body === "boom" ? Promise.reject(new Error("broken")) : Promise.resolve(HELLO),
  });
  const to = { port: portOf(server), method: "POST" };
  assert.is((await get(to, "x".repeat(1024 * 1024))).status, 200);
  assert.is((await get(to, "boom")).status, 500);
  const status = await get(to, "x".repeat(5 * 1024 * 1024)).then(
    (got) => got.status,
    () => 413,
  );
  assert.is(status, 413);
  await server.close();
});

test("a client that never ends its request does not keep the server from closing", async () => {
  const server = await web();
  const socket = connect(portOf(server), "127.0.0.1");
  await new Promise((resolve) => socket.once("connect", resolve));
  socket.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n");
  socket.on("error", () => undefined);
  const closed = new Promise((resolve) => socket.once("close", resolve));
  await server.close();
  await closed;
});

test.run();
