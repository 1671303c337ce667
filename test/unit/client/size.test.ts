import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

import { expect } from "chai";
import { build } from "rolldown";

const ENTRY = fileURLToPath(new URL("../../../client/index.js", import.meta.url));
const MAX_BYTES = 5 * 1024;

describe("redis-sse/client", () => {
  it("has no dependency, and at most 5 KB, minified and compressed", async () => {
    const bundle = await build({ input: ENTRY, write: false, output: { minify: true } });
    const [chunk, ...others] = bundle.output;
    expect(others).to.deep.equal([]);
    expect([...chunk.imports, ...chunk.dynamicImports]).to.deep.equal([]);
    expect(gzipSync(chunk.code).length).to.be.at.most(MAX_BYTES);
  });
});
