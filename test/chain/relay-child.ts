/** A relay server as a process of its own, for tests that kill it: prints its address. */
import { CertFiles, startRelay } from "./world.ts";

const files = new CertFiles();
const server = await startRelay({ listener: process.argv[2] ?? "tcp", tls: files.tls });
files.remove();
console.log(server.address);
