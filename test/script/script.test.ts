/** Plays every script of fixtures/script on each family, framing and build. */
import { createHash } from "node:crypto";
import * as assert from "uvu/assert";
import { BUILD_NAMES } from "../kit/core.ts";
import { suite } from "../kit/suite.ts";
import { filesUnder, read } from "../lint/sources.ts";
import { parseScript } from "./parse.ts";
import { Player } from "./player.ts";

const test = suite("script");

for (const path of filesUnder("fixtures/script").filter((file) => file.endsWith(".pkt"))) {
  const script = parseScript(read(path));
  const name = path.split("/").at(-1)!;
  for (const family of script.families) {
    for (const vnetBytes of [0, 10, 12] as const) {
      test(`${script.title} [${name}, IPv${family}, ${vnetBytes}]`, () => {
        const digests = BUILD_NAMES.map((build) => {
          const player = new Player(script, { build, family, vnetBytes });
          player.play();
          const hash = createHash("sha256");
          for (const packet of player.sent) hash.update(packet);
          return hash.digest("hex");
        });
        assert.is(new Set(digests).size, 1, "the builds sent different bytes");
      });
    }
  }
}

test.run();
