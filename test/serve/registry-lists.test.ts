/** Authers and admissions by their names in the configuration: shared, read, and closed on failure. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import type { Config, ServiceConfig } from "../../src/config/model.ts";
import { Registry } from "../../src/registry.ts";
import { emptyConfig, quiet, serviceOf } from "../chain/world.ts";
import { suite } from "../kit/suite.ts";

const test = suite("serve/registry-lists");
const folder = mkdtempSync(join(tmpdir(), "tsgost-registry-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const file = join(folder, "users");
writeFileSync(file, "alice secret\n");
const source = { place: "gost.yml:5:5" };
const config: Config = {
  ...emptyConfig,
  authers: [
    {
      name: "file",
      auths: [{ username: "bob", password: "b" }],
      source: { ...source, file: { path: file } },
    },
    { name: "gone", auths: [], source: { ...source, file: { path: join(folder, "none") } } },
  ],
  admissions: [
    { name: "lan", whitelist: true, matchers: ["10.0.0.0/8"], network: "", source },
    { name: "bad", whitelist: false, matchers: ["10.6.0.0/16"], network: "", source },
  ],
};

function serviceWith(
  authers: readonly string[],
  admissions: readonly string[] = [],
): ServiceConfig {
  const service = serviceOf({});
  const handler = { ...service.handler, auths: [{ username: "own", password: "o" }], authers };
  return { ...service, handler, admissions };
}

async function messageOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => "",
    (error: Error) => error.message,
  );
}

test("users of the handler, of its auther and of the auther's file", async () => {
  const registry = new Registry(config, { log: quiet });
  const who = await registry.authenticator(serviceWith(["file"]));
  for (const [username, password] of [
    ["own", "o"],
    ["bob", "b"],
    ["alice", "secret"],
  ] as const) {
    assert.is(who?.accepts({ username, password }, "192.0.2.1"), true, username);
    assert.is(who?.accepts({ username, password: "x" }, "192.0.2.1"), false, username);
  }
  registry.close();
});

test("an auther that cannot be read, or does not exist, fails the service", async () => {
  const registry = new Registry(config, { log: quiet });
  assert.match(
    await messageOf(registry.authenticator(serviceWith(["gone"]))),
    /^gost\.yml:5:5: auther gone/,
  );
  assert.match(
    await messageOf(registry.authenticator(serviceWith(["nobody"]))),
    /"nobody" does not exist/,
  );
  assert.match(await messageOf(registry.admission(serviceWith([], ["nobody"]))), /does not exist/);
  registry.close();
});

test("all admissions must admit; none named admits all", async () => {
  const registry = new Registry(config, { log: quiet });
  const both = await registry.admission(serviceWith([], ["lan", "bad"]));
  assert.is(both?.admits("10.1.1.1"), true);
  assert.is(both?.admits("10.6.1.1"), false);
  assert.is(both?.admits("192.0.2.1"), false);
  assert.is(await registry.admission(serviceOf({})), undefined);
  registry.close();
});

test.run();
