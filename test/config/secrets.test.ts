/** Users and passwords: from files and the environment, and never in what is printed. */
import { chmodSync } from "node:fs";
import * as assert from "uvu/assert";
import { parseFlags } from "../../src/config/flags.ts";
import { loadDocument } from "../../src/config/load.ts";
import { planOf } from "../../src/config/plan.ts";
import { printDocument } from "../../src/config/print.ts";
import { suite } from "../kit/suite.ts";
import { refusal, start, withFiles } from "./read.ts";

const test = suite("config/secrets");

test("a client presents the first user of a file, a server admits all", () => {
  const files = { users: "# comment\n\nalice  pass word \nbob\tb\n" };
  withFiles(files, ["FILE:users"], ([path]) => {
    chmodSync(path!, 0o600);
    const client = start(["-L", "tungo://:0", "-F", `relay://h.example:1?authFile=${path}`]);
    const { connector } = client.config.chains[0]!.hops[0]!.nodes[0]!;
    assert.equal(connector.auth, { username: "alice", password: "pass word" });
    assert.equal(connector.metadata, {});
    assert.equal(client.warnings, []);
    const server = start(["-L", `relay://127.0.0.1:1?authFile=${path}`]).config.services[0]!;
    assert.equal(server.handler.auths, [
      { username: "alice", password: "pass word" },
      { username: "bob", password: "b" },
    ]);
  });
});

test("a file that everybody can read is a warning, an empty or missing one an error", () => {
  withFiles(
    { open: "a b\n", empty: "# nobody\n" },
    ["FILE:open", "FILE:empty"],
    ([open, empty]) => {
      chmodSync(open!, 0o644);
      const { warnings } = start(["-L", `relay://127.0.0.1:1?authFile=${open}`]);
      assert.match(warnings.join(), /can be read by everybody; chmod 600/);
      const refused = refusal(() => start(["-L", `relay://127.0.0.1:1?authFile=${empty}`]));
      assert.match(refused.message, /has no line "user password"/);
    },
  );
  const missing = refusal(() => start(["-L", "relay://127.0.0.1:1?authFile=/no/file"]));
  assert.match(missing.message, /authFile: \/no\/file: no such file/);
  assert.is(missing.exitCode, 2);
});

test("a variable holds user and password", () => {
  const args = ["-L", "relay://127.0.0.1:1?authEnv=my-server"];
  const { config } = start(args, { TSGOST_AUTH_MY_SERVER: "alice:a:b" });
  assert.equal(config.services[0]!.handler.auth, { username: "alice", password: "a:b" });
  const refused = refusal(() => start(args));
  assert.match(refused.message, /variable TSGOST_AUTH_MY_SERVER is not set/);
});

const ARGS = [
  "-L",
  "relay+wss://user:hunter2@127.0.0.1:443?passphrase=hunter2&listener.token=hunter2",
  "-F",
  "relay+wss://user:hunter2@h.example:443?auth=hunter2&connector.password=hunter2",
  "-api",
  "user:hunter2@:18080",
];

test("-O masks secrets unless it is told to show them", () => {
  const { document } = loadDocument(parseFlags(ARGS), {});
  for (const format of ["yaml", "json"] as const) {
    const masked = printDocument(document, { format, showSecrets: false });
    assert.not.match(masked, /hunter2/);
    assert.match(masked, /\*\*\*/);
    assert.match(masked, /user/);
    const shown = printDocument(document, { format, showSecrets: true });
    assert.is(shown.match(/hunter2/g)?.length, format === "yaml" ? 9 : 9);
  }
});

test("plans and warnings show no secrets", () => {
  const { config, warnings } = start(ARGS);
  assert.not.match(planOf(config).join("\n"), /hunter2/);
  assert.ok(warnings.length > 0);
  assert.not.match(warnings.join("\n"), /hunter2/);
});

test.run();
