/** Where part B happens: the namespaces of the end-to-end tests, and a gost in any of them. */
import type { Namespace, RemoteProcess } from "../../src/commands/demo/namespace.ts";
import { ask, PLACES, Scene, until } from "../kit/netns.ts";
import type { Gost } from "./peer.ts";

const START_MS = 15_000;
const USER = "mira";
export const PASSWORD = "secret";

/** How both ends are set up. */
export interface Link {
  /** tcp, tls, ws, wss, mtls, mws or mwss. */
  readonly transport: string;
  /** Default relay. */
  readonly connector?: string;
  /** Query of the server's URL. */
  readonly server?: string;
  /** Query of the client's URL. */
  readonly client?: string;
  readonly password?: string;
}

export const serverUrl = ({ transport, connector = "relay", server = "" }: Link): string =>
  `${connector}+${transport}://${USER}:${PASSWORD}@${PLACES.relay}:443?${server}`;

export const clientUrl = (link: Link): string => {
  const { transport, connector = "relay", client = "", password = PASSWORD } = link;
  const at = `${USER}:${password}@${PLACES.relay}:443`;
  return `${connector}+${transport}://${at}?interface=wan0&${client}`;
};

export interface Running {
  readonly process: RemoteProcess;
  stop(): Promise<unknown>;
}

/** The scene, and a gost where it is wanted. */
export class Place {
  readonly scene: Scene;
  readonly #gost: Gost;

  private constructor(scene: Scene, gost: Gost) {
    this.scene = scene;
    this.#gost = gost;
  }

  static async open(gost: Gost): Promise<Place> {
    return new Place(await Scene.open(), gost);
  }

  /** A relay server of gost in the internet. */
  gostServer(link: Link): Promise<Running> {
    const { internet } = this.scene.world;
    return this.#start(internet, ["-L", serverUrl(link)], async () => {
      const { outcome } = await ask(internet, "tryConnect", PLACES.relay, 443, 1000);
      return outcome === "connected";
    });
  }

  /** gost's tungo in the gateway, the whole world routed into it. */
  gostTungo(link: Link): Promise<Running> {
    const { gateway } = this.scene.world;
    const keys = [
      `net=${PLACES.tunNet}`,
      "name=gost0",
      "mtu=1420",
      "udpTimeout=10s",
      "route=0.0.0.0/1,128.0.0.0/1,::/1,8000::/1",
    ];
    const args = ["-L", `tungo://:0?${keys.join("&")}`, "-F", clientUrl(link)];
    return this.#start(gateway, args, async () => {
      const { stdout } = await gateway.run(["ip", "-6", "route", "show", "8000::/1"]);
      return stdout.includes("gost0");
    });
  }

  tsgostServer(link: Link): Promise<Running> {
    return this.scene.relay("-L", serverUrl(link));
  }

  tsgostTungo(link: Link): Promise<Running> {
    return this.scene.tungo(["-F", clientUrl(link)]);
  }

  async #start(
    namespace: Namespace,
    args: readonly string[],
    isUp: () => Promise<boolean>,
  ): Promise<Running> {
    const { binary, home } = this.#gost;
    const process = await namespace.start([binary, ...args], { cwd: home, env: { HOME: home } });
    const stop = async (): Promise<void> => {
      await process.signal("SIGKILL");
      await process.ended;
    };
    if (await until(isUp, START_MS)) return { process, stop };
    await stop();
    throw new Error(`gost ${args.join(" ")}: ${process.lines.slice(-2).join(" | ")}`);
  }

  close(): Promise<void> {
    return this.scene.close();
  }
}
