/** Where configurations come from: URLs, files that are looked for, the environment, options. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { fetchSources } from "../../src/config/fetch.ts";
import { parseFlags } from "../../src/config/flags.ts";
import { load, loadDocument, modelOf } from "../../src/config/load.ts";
import { TsgostError } from "../../src/errors.ts";
import { suite } from "../kit/suite.ts";
import { refusal, start } from "./read.ts";

const YAML = "services: [{name: far, addr: '127.0.0.1:1', handler: {type: relay}}]\n";
const test = suite("config/sources");

async function serving<T>(
  listener: RequestListener,
  use: (origin: string) => Promise<T>,
): Promise<T> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  try {
    return await use(`127.0.0.1:${port}`);
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

async function failure(promise: Promise<unknown>): Promise<TsgostError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof TsgostError) return error;
    throw error;
  }
  throw new Error("nothing failed");
}

test("-C takes a URL, with a user for it", async () => {
  let seen = "";
  const listener: RequestListener = (request, response) => {
    seen = request.headers.authorization ?? "";
    response.end(YAML.replace("relay", "rely"));
  };
  await serving(listener, async (origin) => {
    const url = `http://bob:hunter2@${origin}/gost.yaml`;
    const loaded = await load(parseFlags(["-C", url]), {});
    assert.is(Buffer.from(seen.slice(6), "base64").toString(), "bob:hunter2");
    const { message } = refusal(() => modelOf(loaded));
    assert.match(
      message,
      /^http:\/\/bob:\*\*\*@127\.0\.0\.1:\d+\/gost\.yaml:1:\d+: there is no handler/,
    );
  });
});

test("a server that fails, is late or sends too much is told", async () => {
  await serving(
    (request, response) => {
      if (request.url === "/gone") response.writeHead(404).end();
      else if (request.url === "/large") response.end(Buffer.alloc(11 * 1024 * 1024, "#"));
    },
    async (origin) => {
      const gone = await failure(fetchSources([`http://u:hunter2@${origin}/gone`]));
      assert.match(gone.message, /-C http:\/\/u:\*\*\*@\S+\/gone: the server answered 404/);
      assert.is(gone.exitCode, 1);
      assert.match((await failure(fetchSources([`http://${origin}/late`], 50))).message, /within/);
      assert.match(
        (await failure(fetchSources([`http://${origin}/large`]))).message,
        /larger than/,
      );
    },
  );
  assert.match(
    (await failure(fetchSources(["http://127.0.0.1:1/"]))).message,
    /ECONNREFUSED|bad port/,
  );
});

test("a file is looked for where nothing is given", () => {
  const home = mkdtempSync(join(tmpdir(), "tsgost-home-"));
  try {
    mkdirSync(join(home, ".gost"));
    writeFileSync(join(home, ".gost", "gost.toml"), "");
    assert.match(refusal(() => start([], { HOME: home })).message, /TOML is not supported/);
    writeFileSync(join(home, ".gost", "gost.yml"), YAML);
    assert.is(start([], { HOME: home }).config.services[0]!.name, "far");
    // GOST's option for an API alone needs no file.
    const flags = parseFlags(["-api", "127.0.0.1:0"]);
    assert.equal(Object.keys(loadDocument(flags, { HOME: home }).document), ["api"]);
  } finally {
    rmSync(home, { recursive: true });
  }
});

test("GOST_… and TSGOST_… come behind files and before options", () => {
  const environment = {
    GOST_API: "u:p@127.0.0.1:18080",
    GOST_METRICS: "127.0.0.1:9000",
    GOST_PROFILING: "127.0.0.1:6061",
    TSGOST_LOG_LEVEL: "warn",
    TSGOST_LOG_FORMAT: "text",
    GOST_LOGGER_LEVEL: "debug",
  };
  const inline = '{"api":{"addr":":1","pathPrefix":"/x"},"profiling":{},"log":{"level":"error"}}';
  const args = ["-C", inline, "-L", "relay://127.0.0.1:1"];
  const of = (...more: readonly string[]) => start([...args, ...more], environment).config;
  const { api, metrics, log, rest } = of();
  assert.is(api?.addr, "127.0.0.1:18080");
  assert.is(api?.pathPrefix, undefined);
  assert.equal(api?.auth, { username: "u", password: "p" });
  assert.is(metrics?.addr, "127.0.0.1:9000");
  assert.equal(rest["profiling"], { addr: "127.0.0.1:6061" });
  assert.equal(log, { level: "warn", format: "text", output: "stderr" });
  assert.is(of("-api", ":2").api?.addr, ":2");
  assert.is(of("--log-format", "json", "-D").log.format, "json");
  assert.is(of("-D").log.level, "debug");
  assert.equal(start(args).config.rest["profiling"], { addr: ":6060" });
  const wrong = refusal(() => start(args, { GOST_API: "nowhere" }));
  assert.match(wrong.message, /^GOST_API: "nowhere" is not \[HOST\]:PORT/);
});

test("-R is the period of the model", () => {
  const config = modelOf(loadDocument(parseFlags(["-L", "relay://:1", "-R", "1m30s"]), {}));
  assert.is(config.reloadMs, 90_000);
  assert.is(modelOf(loadDocument(parseFlags(["-L", "relay://:1"]), {})).reloadMs, undefined);
});

test.run();
