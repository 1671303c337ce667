import { join } from "node:path";
import { argv } from "node:process";
import { pathToFileURL } from "node:url";

import { FOLDER } from "./code-blocks.js";
import { server, sse } from "./given.js";

// Runs the compiled blocks of one page in their order. A block that throws, also later, ends the process with an error.
for (const file of argv.slice(2)) {
  try {
    await import(pathToFileURL(join(FOLDER, `${file}.mjs`)).href);
  } catch (error) {
    throw new Error(`The block at ${file} failed`, { cause: error });
  }
}
await sse.close();
server.close();
// Services that blocks create keep the process alive.
process.exit(0);
