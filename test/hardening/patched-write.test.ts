import { execFile } from "node:child_process";
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect } from "chai";

import { isWrittenByNode } from "../../middleware/response/native-write.js";

const APP = fileURLToPath(new URL("patched-write-app.js", import.meta.url));
const TEXT = "data: 1\n\ndata: 2\n\n";

async function run(target: string, when: string): Promise<{ seen: string; got: string }> {
  const { stdout } = await promisify(execFile)(process.execPath, [APP, target, when], { timeout: 15_000 });
  return JSON.parse(stdout) as { seen: string; got: string };
}

describe("a response in a process that patches write()", () => {
  for (const target of ["ServerResponse", "OutgoingMessage"]) {
    for (const when of ["before", "after"]) {
      it(`is written through ${target}.prototype.write if that is patched ${when} redis-sse is loaded`, async () => {
        expect(await run(target, when)).to.deep.equal({ seen: TEXT, got: TEXT });
      });
    }
  }

  it("has the same text without a patch", async () => {
    expect(await run("none", "before")).to.deep.equal({ seen: "", got: TEXT });
  });

  for (const name of ["write", "end"] as const) {
    it(`is not written natively if ServerResponse.prototype has its own ${name}(), even an identical one`, () => {
      const res = new ServerResponse(new IncomingMessage(new Socket()));
      expect(isWrittenByNode(res)).to.equal(true);
      Object.assign(ServerResponse.prototype, { [name]: res[name] });
      try {
        expect(isWrittenByNode(res)).to.equal(false);
      } finally {
        Reflect.deleteProperty(ServerResponse.prototype, name);
      }
    });
  }
});
