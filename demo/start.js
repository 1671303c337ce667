/**
 * `npm run demo`: builds, and becomes the server. In one process, so that whoever ends `npm run demo` ends the
 * server, and not a shell in between.
 */
import { execSync } from "node:child_process";

execSync("npm run -s build", { stdio: "inherit" });
await import("../dist/demo/server.js");
